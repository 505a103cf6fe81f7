"""``dag``: graphs of calls that ``bind`` builds and ``execute`` runs."""

from __future__ import annotations

import importlib
import threading
from dataclasses import dataclass
from typing import Any

import pytest

pytestmark = [
    pytest.mark.usefixtures("shared_session"),
    pytest.mark.filterwarnings("ignore:DAGNode.execute:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def dag(backend, _environment):
    return importlib.import_module(f"{backend}.dag")


@pytest.fixture
def add(ray):
    @ray.remote(num_cpus=0)
    def add(left, right=0):
        return left + right

    return add


@pytest.fixture
def counter(ray):
    @ray.remote(num_cpus=0)
    class Counter:
        def __init__(self, start=0):
            self.value = start

        def add(self, amount):
            self.value += amount
            return self.value

        def get(self):
            return self.value

        @ray.method(num_returns=2)
        def both(self, amount):
            return self.value, amount

    return Counter


def test_graph_of_functions_gives_a_ref(ray, add):
    graph = add.bind(add.bind(1, 2), right=add.bind(3))
    ref = graph.execute()
    assert isinstance(ref, ray.ObjectRef)
    assert ray.get(ref) == 6
    assert ray.get(graph.execute()) == 6


def test_execute_is_deprecated(add):
    with pytest.warns(DeprecationWarning, match=r"execute\(\) is deprecated"):
        add.bind(1, 2).execute()


def test_shared_node_runs_once(ray, add, runs):
    @ray.remote(num_cpus=0)
    def log():
        runs.add()
        return 1

    shared = log.bind()
    assert ray.get(add.bind(shared, add.bind(shared, shared)).execute()) == 3
    assert len(runs.lines()) == 1


@dataclass
class Pair:
    first: Any
    second: Any


def test_nodes_inside_containers_and_objects_arrive_as_refs(ray, add):
    @ray.remote(num_cpus=0)
    def total(numbers, by_name, pair):
        return sum(ray.get([*numbers, by_name["one"], pair.first])) + pair.second

    graph = total.bind([add.bind(1), add.bind(2)], {"one": add.bind(3)}, Pair(add.bind(4), 5))
    assert ray.get(graph.execute()) == 15


def test_options_of_a_bound_call(ray, add):
    @ray.remote
    def pair():
        return 1, 2

    first, second = pair.options(num_returns=2).bind().execute()
    assert ray.get([first, second]) == [1, 2]
    assert ray.get(add.options(num_cpus=1).bind(1, 1).execute()) == 2


def test_input_is_what_execute_is_given(ray, dag, add):
    with dag.InputNode() as given:
        graph = add.bind(given, add.bind(given))
    assert ray.get(graph.execute(5)) == 10
    assert ray.get(graph.execute(7)) == 14


def test_parts_of_the_input(ray, dag, add):
    with dag.InputNode() as given:
        graph = add.bind(given[0], given.right)
    assert ray.get(graph.execute(1, right=2)) == 3
    with dag.InputNode() as given:
        by_key = add.bind(given["left"], given["right"])
        by_index = add.bind(given[0], given[1])
        by_attribute = add.bind(given.first, given.second)
    assert ray.get(by_key.execute({"left": 1, "right": 2})) == 3
    assert ray.get(by_index.execute([3, 4])) == 7
    assert ray.get(by_attribute.execute(Pair(5, 6))) == 11


def test_input_node_outside_of_with_is_refused(dag, add):
    with pytest.raises(AssertionError, match="context manager"):
        add.bind(dag.InputNode()).execute(1)


def test_input_node_takes_no_arguments(dag):
    with pytest.raises(ValueError, match="should not take any"):
        dag.InputNode(1)
    with pytest.raises(ValueError, match="should not take any"):
        dag.InputNode(word=1)


def test_two_inputs_of_one_graph_are_refused(dag, add):
    with dag.InputNode() as one, dag.InputNode() as other:
        graph = add.bind(one, other)
    with pytest.raises(AssertionError, match="one unique InputNode"):
        graph.execute(1)


def test_several_outputs_are_a_list(ray, dag, add):
    with dag.InputNode() as given:
        graph = dag.MultiOutputNode([add.bind(given, 1), add.bind(given, 2)])
    assert ray.get(graph.execute(10)) == [11, 12]
    with pytest.raises(ValueError, match="Invalid input type"):
        dag.MultiOutputNode(add.bind(1))


def test_actor_of_a_graph_lives_for_the_run(ray, counter):
    actor = counter.bind(10)
    actor.add.bind(1)
    actor.add.bind(2)
    graph = actor.get.bind()
    assert ray.get(graph.execute()) == 13  # calls of one actor run in the order in which they were bound
    assert ray.get(graph.execute()) == 13  # of another actor


def test_class_node_gives_a_handle(ray, counter):
    handle = counter.bind(3).execute()
    assert ray.get(handle.get.remote()) == 3


def test_methods_and_functions_in_one_graph(ray, dag, counter, add):
    with dag.InputNode() as given:
        first, second = counter.bind(1), counter.bind(add.bind(1, 1))
        graph = add.bind(first.add.bind(given), second.add.bind(given))
    assert ray.get(graph.execute(10)) == 23


def test_input_as_an_argument_of_a_constructor_is_refused(dag, counter):
    with dag.InputNode() as given, pytest.raises(ValueError, match="constructor"):
        counter.bind(given)


def test_living_actor_in_a_graph(ray, dag, counter):
    handle = counter.remote(5)
    with dag.InputNode() as given:
        graph = handle.add.bind(given)
    assert ray.get(graph.execute(1)) == 6
    assert ray.get(graph.execute(1)) == 7
    with pytest.raises(TypeError):
        handle.add.bind()


def test_results_of_a_method_with_several_are_several_nodes(ray, dag, counter, add):
    first, second = counter.remote(5).both.bind(7)
    assert first.is_class_method_output
    assert (first.output_idx, second.output_idx) == (0, 1)
    assert first.class_method_call is second.class_method_call
    assert first.class_method_call.num_returns == 2
    assert ray.get(add.bind(first, second).execute()) == 12


def test_wrong_words_are_told(counter, add):
    node = add.bind(1)
    with pytest.raises(AttributeError, match=r"\.remote\(\) cannot be used"):
        node.remote()
    with pytest.raises(AttributeError, match=r"\.bind\(\) cannot be used again"):
        node.bind()
    actor = counter.bind()
    with pytest.raises(AttributeError, match=r"\.bind\(\) cannot be used again"):
        actor.bind()
    with pytest.raises(AttributeError, match="nothing"):
        _ = actor.nothing
    with pytest.raises(AttributeError, match=r"Use \.bind\(\) instead"):
        actor.get.remote()


def test_facts_of_a_node(add):
    child = add.bind(1)
    node = add.options(num_cpus=1).bind(child, right=2)
    assert list(node.get_args()) == [child]
    assert node.get_kwargs() == {"right": 2}
    assert node.get_options()["num_cpus"] == 1
    assert node.get_stable_uuid() != child.get_stable_uuid()


def test_recursive_walk_sees_each_node_once_after_its_children(add):
    shared = add.bind(1)
    graph = add.bind(shared, add.bind(shared, 2))
    seen = []
    result = graph.apply_recursive(lambda node: seen.append(node.get_stable_uuid()) or list(node.get_args()))
    assert len(seen) == len(set(seen)) == 3
    assert seen[0] == shared.get_stable_uuid()
    assert result == [[1], [[1], 2]]


def test_results_of_all_nodes_are_kept_when_asked(ray, add):
    child = add.bind(1)
    graph = add.bind(child, 2)
    graph.execute()
    assert graph.cache_from_last_execute == {}
    ref = graph.execute(_ray_cache_refs=True)
    assert ray.get(graph.cache_from_last_execute[child.get_stable_uuid()]) == 1
    assert graph.cache_from_last_execute[graph.get_stable_uuid()] == ref
    graph.clear_cache()
    assert graph.cache_from_last_execute == {}


def test_argument_that_does_not_pickle_is_a_type_error(add):
    with pytest.raises(TypeError):
        add.bind(1, threading.Lock()).execute()
