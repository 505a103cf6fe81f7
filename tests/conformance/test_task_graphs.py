"""Many tasks that depend on each other: fan-out, fan-in, chains, trees, thousands at once."""

import random

import pytest

pytestmark = pytest.mark.usefixtures("session")


@pytest.fixture
def add(ray):
    return ray.remote(lambda *values: sum(values))


def test_fan_out_and_fan_in(ray, add):
    squares = [ray.remote(lambda i=i: i * i).remote() for i in range(50)]
    assert ray.get(add.remote(*squares)) == sum(i * i for i in range(50))


def test_chain_of_a_hundred_tasks(ray, add):
    ref = ray.put(0)
    for _ in range(100):
        ref = add.remote(ref, 1)
    assert ray.get(ref) == 100


def test_binary_tree_reduction(ray, add):
    refs = [ray.put(i) for i in range(128)]
    while len(refs) > 1:
        refs = [add.remote(refs[i], refs[i + 1]) for i in range(0, len(refs), 2)]
    assert ray.get(refs[0]) == sum(range(128))


def test_diamond(ray, add):
    top = add.remote(1, 1)
    left, right = add.remote(top, 10), add.remote(top, 100)
    assert ray.get(add.remote(left, right, top)) == 12 + 102 + 2


def test_grid_of_dependencies(ray, add):
    row = [ray.put(1)] * 8
    for _ in range(8):
        above, row = row, []
        for i in range(8):
            row.append(add.remote(above[i], row[i - 1] if i else 0))
    assert ray.get(row[-1]) == 6435


def test_random_graph_gives_what_a_serial_run_gives(ray, add):
    draw = random.Random(20240607)
    values, refs = [1, 1], [ray.put(1), ray.put(1)]
    for _ in range(150):
        parents = [draw.randrange(len(values)) for _ in range(draw.randint(1, 4))]
        values.append(sum(values[parent] for parent in parents) % 1_000_003)
        refs.append(ray.remote(lambda *xs: sum(xs) % 1_000_003).remote(*[refs[parent] for parent in parents]))
    assert ray.get(refs) == values


def test_error_in_the_middle_of_a_graph_reaches_only_what_depends_on_it(ray, add):
    @ray.remote
    def fail():
        raise ValueError("one branch")

    good, bad = add.remote(1, 2), fail.remote()
    mixed = add.remote(good, bad)
    other = add.remote(good, 10)
    with pytest.raises(ValueError, match="one branch"):
        ray.get(add.remote(mixed, 1))
    assert ray.get(other) == 13


def test_thousands_of_small_tasks(ray):
    identity = ray.remote(lambda x: x)
    assert ray.get([identity.remote(i) for i in range(5000)]) == list(range(5000))


def test_thousands_of_tasks_that_depend_on_one_object(ray):
    np = pytest.importorskip("numpy")
    ref = ray.put(np.arange(100_000))
    pick = ray.remote(lambda array, i: int(array[i]))
    assert ray.get([pick.remote(ref, i) for i in range(1000)]) == list(range(1000))


def test_thousands_of_tasks_whose_refs_are_dropped_at_once_all_run(ray, runs):
    touch = ray.remote(lambda runs: runs.add() and None)
    for _ in range(300):
        touch.remote(runs)
    last = [touch.remote(runs) for _ in range(2)]
    ray.get(last)
    done = ray.remote(lambda runs: len(runs.lines()))
    while ray.get(done.remote(runs)) < 302:
        pass
    assert len(runs.lines()) == 302


def test_intermediate_refs_may_be_dropped_while_tasks_wait(ray, gate, add):
    @ray.remote(num_cpus=0)
    def hold(gate):
        gate.wait()
        return 1

    ref = hold.remote(gate)
    for _ in range(20):
        ref = add.remote(ref, 1)
    gate.open()
    assert ray.get(ref) == 21


def test_large_intermediate_results_flow_through_a_pipeline(ray):
    np = pytest.importorskip("numpy")
    load = ray.remote(lambda i: np.full(250_000, float(i)))
    scale = ray.remote(lambda array: array * 2)
    total = ray.remote(lambda *arrays: float(sum(array.sum() for array in arrays)))
    refs = [scale.remote(load.remote(i)) for i in range(8)]
    assert ray.get(total.remote(*refs)) == 2 * 250_000 * sum(range(8))


def test_tasks_in_tasks_build_a_graph_for_the_driver(ray, add):
    @ray.remote
    def plan(n):
        return [add.remote(i, i) for i in range(n)]

    assert ray.get(ray.get(plan.remote(10))) == [2 * i for i in range(10)]
