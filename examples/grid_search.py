"""A grid search of scikit-learn through joblib: in processes of miniray, then in joblib's own (needs scikit-learn).

The table of samples is stored once and read by all processes without a copy.
"""

import argparse
import sys
import time

import miniray as ray

try:
    import joblib
    from sklearn.datasets import make_classification
    from sklearn.model_selection import GridSearchCV
    from sklearn.svm import SVC
except ImportError as error:
    sys.exit(f"This example needs scikit-learn ({error}): pip install scikit-learn 'miniray[joblib]'")

from miniray.util.joblib import register_miniray

GRID = {"C": [0.1, 1, 10, 100], "gamma": [0.001, 0.01, 0.1]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=2_000)
    parser.add_argument("--other", default="loky", help="the backend of joblib to compare with")
    options = parser.parse_args()

    ray.init(num_cpus=2)
    register_miniray()
    samples, classes = make_classification(options.rows, 20, random_state=1)
    found = {}
    for backend in ("miniray", options.other):
        started = time.perf_counter()
        with joblib.parallel_config(backend=backend, n_jobs=2):
            search = GridSearchCV(SVC(), GRID, cv=3).fit(samples, classes)
        found[backend] = search
        print(f"{backend:9} {time.perf_counter() - started:5.1f} s: {search.best_params_}, {search.best_score_:.3f}")
    scores = [search.cv_results_["mean_test_score"] for search in found.values()]
    print(f"the same scores: {bool((scores[0] == scores[1]).all())}")
    ray.shutdown()


if __name__ == "__main__":
    main()
