"""Processes that are stopped or killed at a named point: half-born workers, holders of the lock, drivers that spawn."""

import os
import signal

import pytest

from helpers import fault_runs
from helpers.fault_runs import FaultRun
from helpers.states import is_gone, wait_until

if fault_runs.SITE:

    @pytest.fixture
    def start(tmp_path):
        """Start the program with faults; end it at the end."""
        started = []

        def start(faults, **environment):
            folder = tmp_path / str(len(started))
            folder.mkdir()
            started.append(FaultRun(faults, folder, **environment))
            return started[-1]

        yield start
        for run in started:
            if run.process.poll() is None or run.processes():
                run.end()
            run.process.communicate()

    def supervisor_of(run):
        """Return the supervisor, which forked the stopped worker."""
        (pid,) = [
            pid for pid in run.processes() if pid != run.process.pid and fault_runs.parent_of(pid) == run.process.pid
        ]
        return pid

    @pytest.mark.parametrize("point", ["worker.born", "worker.unwatched", "worker.watched", "worker.adopted"])
    def test_half_born_worker_outlives_neither_driver_nor_supervisor(start, point):
        run = start(f"{point}@worker=stop")
        worker = run.wait_stopped(0)
        supervisor = supervisor_of(run)
        os.kill(supervisor, signal.SIGSTOP)
        wait_until(lambda: fault_runs.process_state(supervisor) == "T", "the supervisor stops")
        run.process.kill()  # together: nobody is left to kill the worker, or to clear up
        os.kill(supervisor, signal.SIGKILL)
        wait_until(lambda: is_gone(supervisor), "the supervisor ends")
        run.process.wait()
        os.kill(worker, signal.SIGCONT)
        assert run.leaks() == []

    @pytest.mark.parametrize("point", ["worker.born", "worker.unwatched", "worker.watched", "worker.adopted"])
    def test_half_born_worker_of_a_dead_supervisor_is_no_worker_of_the_next(start, point):
        run = start(f"{point}@worker=stop;session.stopping@driver=stop")
        worker = run.wait_stopped(0)
        os.kill(supervisor_of(run), signal.SIGKILL)
        wait_until(lambda: run.counts.passes()["supervisor", "supervisor.ready"] == 2, "the next supervisor comes")
        os.kill(worker, signal.SIGCONT)
        driver = run.wait_stopped(1)
        wait_until(lambda: is_gone(worker), "the worker ends")
        passes = run.counts.passes()  # it took no task, whose end with it nobody might have seen
        assert passes["worker", "worker.accepted"] < passes["worker", "worker.born"]
        os.kill(driver, signal.SIGCONT)
        assert run.wait()[:2] == (0, "right")
        assert run.leaks() == []

    @pytest.mark.parametrize("point", ["monitor.spawned", "supervisor.born", "supervisor.attached", "supervisor.ready"])
    def test_driver_that_is_killed_while_it_spawns_leaves_nothing(start, point):
        if point == "monitor.spawned":
            run = start("monitor.spawned@driver=kill")
        else:
            run = start(f"{point}@supervisor=stop")
            supervisor = run.wait_stopped(0)
            run.process.kill()
            run.process.wait()
            os.kill(supervisor, signal.SIGCONT)
        assert run.wait()[0] == -signal.SIGKILL
        assert run.leaks() == []

    def looks(run):
        """Return how often somebody has looked at the state or the start of a process: waiters for the lock do."""
        passes = run.counts.passes()
        return sum(passes[role, "system.open_status"] for role in fault_runs.ROLES)

    @pytest.mark.parametrize(("role", "nth", "who"), [("worker", 9, "a worker"), ("supervisor", 6, "the supervisor")])
    def test_stopped_holder_of_the_lock_is_told_and_killed(start, role, nth, who):
        run = start(f"transaction.before_commit:{nth}@{role}=stop", MINIRAY_STOP_TIMEOUT_S="2")
        holder = run.wait_stopped(0)
        status, said, errors = run.wait()
        assert (status, said) == (0, "right")
        assert f"process {holder} ({who}) was stopped (SIGSTOP) in a change of the session's tables" in errors
        assert f"process {holder} ({who}) was stopped for 2." in errors
        assert run.leaks() == []

    @pytest.mark.parametrize("limit", ["0", "30"])
    def test_stopped_holder_of_the_lock_that_goes_on_costs_nothing(start, limit):
        run = start("transaction.before_commit:9@worker=stop", MINIRAY_STOP_TIMEOUT_S=limit)
        holder, before = run.wait_stopped(0), looks(run)
        wait_until(lambda: looks(run) > before + 100, "others wait, for a second at least")
        os.kill(holder, signal.SIGCONT)
        status, said, errors = run.wait()
        assert (status, said) == (0, "right")
        assert f"process {holder} (a worker) was stopped (SIGSTOP" in errors
        assert "was stopped for" not in errors
        assert run.leaks() == []

    def test_driver_that_is_stopped_with_the_lock_is_never_killed(start):
        run = start("transaction.before_commit:8@driver=stop", MINIRAY_STOP_TIMEOUT_S="1")
        driver, before = run.wait_stopped(0), looks(run)
        wait_until(lambda: looks(run) > before + 120, "others wait for longer than the limit")
        assert fault_runs.process_state(driver) == "T"
        os.kill(driver, signal.SIGCONT)
        status, said, errors = run.wait()
        assert (status, said) == (0, "right")
        assert f"process {driver} (the driver) was stopped" in errors
        assert "was stopped for" not in errors
        assert run.leaks() == []
