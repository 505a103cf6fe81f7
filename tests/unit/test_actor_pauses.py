"""The pause before a constructor whose processes died."""

from __future__ import annotations

from miniray._runtime.actor_host import pause_before_start


def test_first_starts_do_not_wait() -> None:
    assert [pause_before_start(failed) for failed in range(4)] == [0] * 4


def test_pauses_grow_up_to_a_second() -> None:
    pauses = [pause_before_start(failed) for failed in range(4, 40)]
    assert pauses == sorted(pauses)
    assert (pauses[0] < 0.1, pauses[-1]) == (True, 1.0)
    assert pause_before_start(2**32 - 1) == 1.0
