"""The disk under the spill file fails or writes less than it was asked to: nothing is lost, and the error says why."""

import pytest

from helpers import fault_runs
from helpers.fault_runs import FaultRun

if fault_runs.SITE:

    @pytest.fixture
    def run(tmp_path):
        def run(faults):
            started = FaultRun(faults, tmp_path)
            try:
                ended = started.wait()
                return *ended, started.leaks(), started.counts.fired(0)
            finally:
                started.end()

        return run

    @pytest.mark.parametrize("action", ["short", "errno:EINTR"])
    @pytest.mark.parametrize("when", ["1", "2", "1+"])
    def test_interrupted_and_short_writes_are_gone_on_with(run, action, when):
        if (action, when) == ("errno:EINTR", "1+"):
            when = "3"  # for ever would be for ever
        status, said, errors, left, fired = run(f"system.pwrite:{when}={action}")
        assert (status, said, left, fired > 0) == (0, "right", [], True), errors

    @pytest.mark.parametrize(("error", "text"), [("EIO", "Input/output error"), ("EDQUOT", "Disk quota exceeded")])
    def test_disk_that_fails_for_good_is_an_error_that_loses_nothing(run, error, text):
        status, said, errors, left, fired = run(f"system.pwrite:1+=errno:{error}")
        assert (status, left, fired > 0) == (0, [], True), errors
        assert said.startswith("refused OutOfDiskError")
        assert text in said

    @pytest.mark.parametrize("nth", [1, 3])
    def test_write_that_fails_once_costs_at_most_an_error(run, nth):
        status, said, errors, left, fired = run(f"system.pwrite:{nth}=errno:EIO")
        assert (status, left, fired) == (0, [], 1), errors
        assert said == "right" or said.startswith("refused OutOfDiskError")

    def test_space_that_the_disk_does_not_take_back_is_no_error(run):
        status, said, errors, left, fired = run("system.punch_hole:1+=errno:EOPNOTSUPP")
        assert (status, said, left, fired > 0) == (0, "right", [], True), errors

    def test_payload_that_cannot_be_read_back_is_a_lost_object(run):
        status, said, errors, left, fired = run("system.populate:1+@driver=errno:EFAULT")
        assert (status, left, fired > 0) == (0, [], True), errors
        assert said.startswith("refused ")
