"""``dag`` in miniray's own terms: deep graphs, large arguments, nothing left."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from helpers.states import wait_until
from miniray import _miniray_core as core
from miniray.exceptions import UnsupportedFeatureError

pytestmark = pytest.mark.filterwarnings("ignore:DAGNode.execute:DeprecationWarning")


def add(left, right=0):
    return left + right


def test_deep_graph_runs(ray):
    remote_add = ray.remote(add)
    node = remote_add.bind(0)
    for _ in range(3000):
        node = remote_add.bind(node, 1)
    assert ray.get(node.execute()) == 3000


def test_large_argument_is_not_copied_to_look_for_nodes(ray):
    from miniray._api.dag.scan import replace_nodes

    array = np.zeros(1_000_000)
    ref = ray.put(1)
    held = replace_nodes({"all": [array, ref]}, lambda node: node)
    assert held["all"][0] is array
    assert held["all"][1] is ref


def test_actors_of_a_run_are_not_left(ray):
    @ray.remote
    class Holder:
        def get(self):
            return 1

    graph = Holder.bind().get.bind()
    assert ray.get([graph.execute() for _ in range(3)]) == [1, 1, 1]

    def actor_count():
        gc.collect()
        return core._statistics()["actors"]

    wait_until(lambda: actor_count() == 0, "the actors end")


def test_compiled_graphs_are_refused(ray):
    node = ray.remote(add).bind(1)
    with pytest.raises(UnsupportedFeatureError, match="compiled graphs"):
        node.experimental_compile()
    with pytest.raises(UnsupportedFeatureError, match="tensor transports"):
        node.with_tensor_transport()
