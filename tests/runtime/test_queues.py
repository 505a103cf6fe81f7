"""``util.queue.Queue`` in miniray's own terms: what becomes of those who wait."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from miniray.exceptions import ActorDiedError
from miniray.util.queue import Queue


def test_who_waits_is_told_that_the_actor_died(ray):
    queue = Queue()
    ray.get(queue.actor.__ray_ready__.remote())
    killer = threading.Timer(0.05, ray.kill, (queue.actor,))
    killer.start()
    with pytest.raises(ActorDiedError):
        queue.get()
    killer.join()


def test_large_items_are_not_copied_again(ray):
    queue = Queue()
    queue.put(np.zeros(1_000_000))
    assert not queue.get().flags.writeable
