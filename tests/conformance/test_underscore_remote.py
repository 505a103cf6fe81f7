"""``_remote``: calls with their options in one go, as libraries for Ray make them."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.usefixtures("shared_session")


def test_function(ray):
    @ray.remote(num_cpus=0)
    def pair(left, right):
        return left, right

    first, second = pair._remote(args=[1], kwargs={"right": 2}, num_returns=2)
    assert ray.get([first, second]) == [1, 2]
    assert ray.get(pair._remote((3, 4))) == (3, 4)


def test_actor_and_its_method(ray):
    @ray.remote(num_cpus=0)
    class Holder:
        def __init__(self, value):
            self.value = value

        def pair(self, other):
            return self.value, other

    holder = Holder._remote(args=[5], kwargs={}, name="made by _remote")
    assert ray.get(ray.get_actor("made by _remote").pair.remote(6)) == (5, 6)
    first, second = holder.pair._remote(args=(7,), num_returns=2)
    assert ray.get([first, second]) == [5, 7]
