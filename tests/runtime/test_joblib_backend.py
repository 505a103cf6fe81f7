"""``util.joblib`` in miniray's own terms: what is stored once, and how missing packages are told."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time

import joblib
import numpy as np
import pytest

from helpers.states import wait_until
from miniray import _miniray_core as core
from miniray.util.joblib import register_miniray, spare_pool
from miniray.util.joblib.shared_arguments import ArgumentStore


def test_large_argument_is_stored_once(ray):
    store = ArgumentStore()
    big, small = np.zeros(100_000), np.zeros(10)
    ref = store.share(big)
    assert store.share(big) is ref
    assert ray.get(ref).shape == big.shape
    assert store.share(small) is small
    assert store.share("word") == "word"
    assert store.share(ref) is ref
    store.clear()
    assert store.share(big) is not ref


def test_stream_of_large_arguments_is_not_kept(ray):
    store = ArgumentStore()
    first = store.share(np.zeros(100_000))
    used_bytes = core._statistics()["used_bytes"]
    for _ in range(100):
        store.share(np.zeros(100_000))
    del first
    core._flush_releases()
    assert core._statistics()["used_bytes"] < 20 * used_bytes


def test_sparse_matrices_count_by_their_data(ray):
    from scipy.sparse import csr_matrix

    matrix = csr_matrix(np.eye(10_000, 100))
    store = ArgumentStore()
    assert store.share(matrix) is matrix  # some KB
    assert isinstance(store.share(csr_matrix(np.ones((200, 200)))), ray.ObjectRef)


def actor_count():
    gc.collect()
    return core._statistics()["actors"]


def call(function, values, **options):
    with joblib.parallel_config(backend="miniray", **options):
        return joblib.Parallel()(joblib.delayed(function)(value) for value in values)


def pid_and(value):
    return value, os.getpid()


@pytest.fixture
def registered(ray):
    register_miniray()
    yield ray
    spare_pool.close()
    wait_until(lambda: actor_count() == 0, "the processes end")


def test_more_jobs_than_cpus_are_as_many_as_there_are(registered):
    assert call(abs, range(-5, 0), n_jobs=5) == [5, 4, 3, 2, 1]
    assert actor_count() == 2


def test_processes_serve_the_next_parallel_too(registered):
    first = {pid for _, pid in call(pid_and, range(8), n_jobs=2)}
    second = {pid for _, pid in call(pid_and, range(8), n_jobs=2)}
    assert len(first | second) <= 2
    call(pid_and, range(8), n_jobs=2, inner_max_num_threads=1)
    wait_until(lambda: actor_count() == 2, "the processes with other settings end")


def test_processes_are_killed_when_their_work_is_given_up(registered):
    def fail_or_sleep(value):
        if value == 0:
            raise KeyError(value)
        time.sleep(1000)

    with pytest.raises(KeyError):
        call(fail_or_sleep, range(2), n_jobs=2)
    wait_until(lambda: actor_count() == 0, "the processes end")
    assert call(abs, [-1], n_jobs=2) == [1]


def test_processes_of_an_ended_session_are_not_used(registered):
    call(abs, [-1], n_jobs=2)
    registered.shutdown()
    registered.init(num_cpus=2, log_to_driver=False)
    assert call(abs, [-1], n_jobs=2) == [1]


@pytest.mark.parametrize("name", ["ray", "miniray"])
def test_missing_joblib_is_told(name):
    code = (
        f"import sys; sys.modules['joblib'] = None\nfrom miniray.util.joblib import register_{name}; register_{name}()"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert f"ImportError: The joblib backend '{name}' needs joblib: pip install" in ended.stderr
