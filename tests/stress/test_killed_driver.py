"""A few moments of tests/stress/killed_driver.py; `make killed-driver` does a hundred."""

import pytest
from stress.killed_driver import kills


@pytest.mark.slow
def test_driver_killed_at_random_moments_leaves_nothing():
    assert len(list(kills(8, "slow test", 200))) == 8  # an error when something is left
