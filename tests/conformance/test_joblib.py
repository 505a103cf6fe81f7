"""``util.joblib``: joblib's calls, and scikit-learn's, in processes of the session."""

from __future__ import annotations

import importlib
import os

import joblib
import numpy as np
import pytest
from payloads import double

pytestmark = pytest.mark.usefixtures("shared_session")


@pytest.fixture(scope="module", autouse=True)
def _registered(backend, _environment):
    importlib.import_module(f"{backend}.util.joblib").register_ray()


def call(function, items, **options):
    with joblib.parallel_config(backend="ray", n_jobs=options.pop("n_jobs", 2)):
        return joblib.Parallel(**options)(joblib.delayed(function)(item) for item in items)


def test_results_come_in_the_order_of_the_calls():
    assert call(double, range(40)) == [2 * value for value in range(40)]


def test_calls_run_in_processes_of_their_own():
    assert os.getpid() not in call(lambda _: os.getpid(), range(4))


def test_all_cpus_are_those_of_the_session():
    with joblib.parallel_config(backend="ray"):
        assert joblib.effective_n_jobs(-1) == 2
        assert joblib.effective_n_jobs(1) == 1
    assert call(double, range(10), n_jobs=-1) == [2 * value for value in range(10)]


def test_error_of_a_call_is_raised_and_the_backend_goes_on():
    def fail_at_three(value):
        if value == 3:
            raise KeyError(value)
        return value

    with pytest.raises(KeyError) as caught:
        call(fail_at_three, range(8))
    assert caught.value.args == (3,)
    assert call(double, [2]) == [4]


def test_large_arrays_arrive_whole_and_read_only():
    big = np.arange(300_000.0)

    with joblib.parallel_config(backend="ray", n_jobs=2):
        found = joblib.Parallel()(
            joblib.delayed(lambda number, array: (number, float(array.sum()), array.flags.writeable))(number, array=big)
            for number in range(6)
        )
    assert found == [(number, float(big.sum()), False) for number in range(6)]


def test_parallel_inside_parallel():
    def inner(value):
        return sum(joblib.Parallel(n_jobs=2)(joblib.delayed(double)(value + step) for step in range(3)))

    assert call(inner, range(4)) == [sum(2 * (value + step) for step in range(3)) for value in range(4)]


def test_one_pool_serves_several_calls_of_a_block():
    with joblib.parallel_config(backend="ray", n_jobs=2), joblib.Parallel() as parallel:
        first = set(parallel(joblib.delayed(os.getpid)() for _ in range(6)))
        second = set(parallel(joblib.delayed(os.getpid)() for _ in range(6)))
    assert len(first | second) <= 2


@pytest.mark.slow  # the processes import scikit-learn
def test_grid_search_finds_the_same_as_without():
    from sklearn.datasets import make_classification
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV

    samples, classes = make_classification(300, 8, random_state=1)
    grid = {"C": [0.01, 0.1, 1.0, 10.0]}
    alone = GridSearchCV(LogisticRegression(), grid, cv=3, n_jobs=1).fit(samples, classes)
    with joblib.parallel_config(backend="ray", n_jobs=2):
        shared = GridSearchCV(LogisticRegression(), grid, cv=3).fit(samples, classes)
    assert shared.best_params_ == alone.best_params_
    assert np.array_equal(shared.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"])
    assert np.array_equal(shared.best_estimator_.coef_, alone.best_estimator_.coef_)
