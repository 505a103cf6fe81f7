"""Programs that keep several times more data than the object store has memory: all of it is read back right.

What does not fit goes to disk, and comes back when somebody looks. The bodies share a session with a small store.
"""

import gc
import random

import pytest

np = pytest.importorskip("numpy")

from library_values import Holder

pytestmark = pytest.mark.usefixtures("small_store")

# Real Ray accepts no store smaller than 75 MiB.
STORE_BYTES = 80 * 1024 * 1024

# One object is 10 MB, and thirty of them are almost four times the store.
LENGTH = 1_250_000
MANY = 30

# What is lost or never comes is an error after this many seconds instead of a hang: a watchdog.
LOST_SECONDS = 100


@pytest.fixture
def small_store(_sessions):
    """Run the body in a session with two CPUs and little memory for objects."""
    _sessions.start(num_cpus=2, object_store_memory=STORE_BYTES)
    yield
    gc.collect()
    _sessions.release()


def numbers(i):
    return np.full(LENGTH, i, dtype="f8")


def is_right(array, i):
    return array.shape == (LENGTH,) and array.dtype == "f8" and bool((array == i).all())


def read(ray, refs):
    return ray.get(refs, timeout=LOST_SECONDS)


def test_all_of_four_times_the_store_is_read_back_in_order(ray):
    refs = [ray.put(numbers(i)) for i in range(MANY)]
    assert all(is_right(read(ray, ref), i) for i, ref in enumerate(refs))


@pytest.mark.slow
def test_all_of_four_times_the_store_is_read_back_twice(ray):
    refs = [ray.put(numbers(i)) for i in range(MANY)]
    for _ in range(2):
        assert all(is_right(read(ray, ref), i) for i, ref in enumerate(refs))


@pytest.mark.slow
@pytest.mark.parametrize("order", ["backwards", "shuffled"])
def test_all_of_four_times_the_store_is_read_back_in_any_order(ray, order):
    refs = [ray.put(numbers(i)) for i in range(MANY)]
    places = list(range(MANY))
    if order == "backwards":
        places.reverse()
    else:
        random.Random(3).shuffle(places)
    assert all(is_right(read(ray, refs[i]), i) for i in places)


@pytest.mark.slow
def test_same_ref_is_read_again_and_again_while_others_are_spilled(ray):
    first = ray.put(numbers(-1))
    others = []
    for i in range(MANY):
        others.append(ray.put(numbers(i)))
        assert is_right(read(ray, first), -1)
    assert is_right(read(ray, others[0]), 0)


@pytest.mark.slow
def test_value_that_was_spilled_is_read_only(ray):
    refs = [ray.put(numbers(i)) for i in range(MANY)]
    array = read(ray, refs[0])
    assert not array.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


@pytest.mark.slow
def test_two_gets_of_a_value_that_was_spilled_share_memory(ray):
    refs = [ray.put(numbers(i)) for i in range(MANY)]
    first, second = read(ray, [refs[0], refs[0]])
    assert np.shares_memory(first, second)
    assert np.shares_memory(first, read(ray, refs[0]))


@pytest.mark.slow
def test_value_read_before_it_could_be_spilled_stays_right(ray):
    refs = [ray.put(numbers(0))]
    array = read(ray, refs[0])
    refs += [ray.put(numbers(i)) for i in range(1, MANY)]
    assert is_right(array, 0)
    assert is_right(read(ray, refs[0]), 0)
    assert is_right(read(ray, refs[-1]), MANY - 1)


@pytest.mark.slow
def test_value_that_was_spilled_survives_its_ref(ray):
    refs = [ray.put(numbers(i)) for i in range(MANY)]
    array = read(ray, refs[0])
    refs[0] = None
    gc.collect()
    others = [ray.put(numbers(-1)) for _ in range(MANY)]
    assert is_right(array, 0)
    assert is_right(read(ray, others[0]), -1)
    assert is_right(read(ray, refs[1]), 1)


@pytest.mark.slow
def test_all_arrays_held_at_once_are_right_though_they_are_more_than_the_store(ray):
    refs = [ray.put(numbers(i)) for i in range(MANY)]
    held = [read(ray, ref) for ref in refs]
    assert all(is_right(array, i) for i, array in enumerate(held))
    assert not any(array.flags.writeable for array in held)


@pytest.mark.slow
def test_one_get_of_more_than_the_store_gives_all(ray):
    refs = [ray.put(numbers(i)) for i in range(MANY)]
    assert all(is_right(array, i) for i, array in enumerate(read(ray, refs)))


@pytest.mark.slow
def test_put_works_while_the_whole_store_is_held(ray):
    held = [read(ray, ray.put(numbers(i))) for i in range(MANY)]
    ref = ray.put(numbers(99))
    assert is_right(read(ray, ref), 99)
    assert all(is_right(array, i) for i, array in enumerate(held))


@pytest.mark.slow
def test_store_is_usable_as_before_after_everything_held_is_dropped(ray):
    held = [read(ray, ray.put(numbers(i))) for i in range(MANY)]
    assert is_right(held[-1], MANY - 1)
    del held
    gc.collect()
    refs = [ray.put(numbers(i)) for i in range(MANY)]
    assert all(is_right(read(ray, ref), i) for i, ref in enumerate(refs))


@pytest.mark.slow
def test_object_larger_than_the_store_is_put_and_read_back(ray):
    size = 3 * STORE_BYTES // 2
    array = read(ray, ray.put(np.arange(size // 8)))
    assert np.array_equal(array, np.arange(size // 8))
    assert not array.flags.writeable


# --------------------------------------------------------------------------------------------------------------- tasks


@pytest.mark.slow
def test_tasks_read_spilled_arguments_right(ray):
    look = ray.remote(is_right)
    refs = [ray.put(numbers(i)) for i in range(MANY)]
    assert read(ray, [look.remote(ref, i) for i, ref in enumerate(refs)]) == [True] * MANY


@pytest.mark.slow
def test_tasks_read_spilled_arguments_in_shuffled_order(ray):
    look = ray.remote(is_right)
    refs = [ray.put(numbers(i)) for i in range(MANY)]
    places = random.Random(5).sample(range(MANY), MANY)
    assert read(ray, [look.remote(refs[i], i) for i in places]) == [True] * MANY


@pytest.mark.slow
def test_spilled_argument_is_read_only_in_a_task(ray):
    refs = [ray.put(numbers(i)) for i in range(MANY)]
    assert read(ray, ray.remote(lambda array: array.flags.writeable).remote(refs[0])) is False


@pytest.mark.slow
def test_task_gets_spilled_refs_of_its_argument(ray):
    @ray.remote
    def look(refs):
        return all(is_right(ray.get(ref), i) for i, ref in enumerate(refs))

    assert read(ray, look.remote([ray.put(numbers(i)) for i in range(MANY)])) is True


def test_results_of_tasks_beyond_the_store_are_read_back(ray):
    make = ray.remote(numbers)
    refs = [make.remote(i) for i in range(MANY)]
    assert all(is_right(read(ray, ref), i) for i, ref in enumerate(refs))


@pytest.mark.slow
def test_results_of_tasks_beyond_the_store_are_held_all_at_once(ray):
    make = ray.remote(numbers)
    held = read(ray, [make.remote(i) for i in range(MANY)])
    assert all(is_right(array, i) for i, array in enumerate(held))


@pytest.mark.slow
def test_several_returns_of_one_task_beyond_the_store_are_read_back(ray):
    make = ray.remote(num_returns=12)(lambda: [numbers(i) for i in range(12)])
    assert all(is_right(read(ray, ref), i) for i, ref in enumerate(make.remote()))


@pytest.mark.slow
def test_plain_arguments_beyond_the_store_arrive_right(ray):
    look = ray.remote(is_right)
    assert read(ray, [look.remote(numbers(i), i) for i in range(MANY)]) == [True] * MANY


@pytest.mark.slow
def test_plain_arguments_of_queued_tasks_beyond_the_store_arrive_right(ray, gate):
    blocker = ray.remote(num_cpus=2)(lambda gate: gate.wait()).remote(gate)
    look = ray.remote(is_right)
    results = [look.remote(numbers(i), i) for i in range(14)]
    gate.open()
    assert read(ray, results) == [True] * 14
    read(ray, blocker)


@pytest.mark.slow
def test_task_puts_more_than_the_store_and_reads_it_back(ray):
    @ray.remote
    def fill():
        refs = [ray.put(numbers(i)) for i in range(MANY)]
        return all(is_right(ray.get(ref), i) for i, ref in enumerate(refs))

    assert read(ray, fill.remote()) is True


@pytest.mark.slow
def test_two_tasks_and_the_driver_fill_the_store_at_once(ray):
    @ray.remote
    def fill(base):
        refs = [ray.put(numbers(base + i)) for i in range(15)]
        return all(is_right(ray.get(ref), base + i) for i, ref in enumerate(refs))

    results = [fill.remote(100), fill.remote(200)]
    refs = [ray.put(numbers(i)) for i in range(15)]
    assert all(is_right(read(ray, ref), i) for i, ref in enumerate(refs))
    assert read(ray, results) == [True, True]


@pytest.mark.slow
def test_objects_put_by_a_task_that_ended_are_read_back_by_the_driver(ray):
    @ray.remote
    def fill():
        return [ray.put(numbers(i)) for i in range(MANY)]

    refs = read(ray, fill.remote())
    assert all(is_right(read(ray, ref), i) for i, ref in enumerate(refs))


@pytest.mark.slow
def test_chains_of_tasks_over_more_than_the_store_end_right(ray):
    step = ray.remote(lambda array: array + 1)
    refs = [ray.put(numbers(i)) for i in range(10)]
    for _ in range(3):
        refs = [step.remote(ref) for ref in refs]
    assert all(is_right(read(ray, ref), i + 3) for i, ref in enumerate(refs))


# ------------------------------------------------------------------------------------------- nested, dropped, waited for


@pytest.mark.slow
def test_refs_inside_spilled_objects_still_resolve(ray):
    outers = [ray.put({"inner": ray.put(numbers(i)), "ballast": numbers(-i)}) for i in range(MANY // 2)]
    gc.collect()
    for i, outer in enumerate(outers):
        value = read(ray, outer)
        assert is_right(value["ballast"], -i)
        assert is_right(read(ray, value["inner"]), i)


@pytest.mark.slow
def test_chain_of_refs_through_spilled_objects_resolves(ray):
    ref = ray.put(numbers(0))
    for i in range(1, MANY):
        ref = ray.put((numbers(i), ref))
    for i in reversed(range(1, MANY)):
        array, ref = read(ray, ref)
        assert is_right(array, i)
    assert is_right(read(ray, ref), 0)


@pytest.mark.slow
def test_spilled_arrays_nested_in_containers_come_back_equal(ray):
    refs = [ray.put({"pair": [Holder(numbers(i)), numbers(-i)]}) for i in range(MANY // 2)]
    for i, ref in enumerate(refs):
        holder, array = read(ray, ref)["pair"]
        assert is_right(holder.value, i)
        assert is_right(array, -i)
        assert not holder.value.flags.writeable


@pytest.mark.slow
def test_spilled_object_keeps_its_internal_aliases(ray):
    refs = []
    for i in range(MANY):
        array = numbers(i)
        refs.append(ray.put([array, Holder(array)]))
    first, holder = read(ray, refs[0])
    assert holder.value is first


@pytest.mark.slow
def test_refs_dropped_in_between_leave_the_others_right(ray):
    chance = random.Random(11)
    live = {}
    for i in range(MANY):
        live[i] = ray.put(numbers(i))
        if len(live) > 15:
            del live[chance.choice(list(live))]
        some = chance.choice(list(live))
        assert is_right(read(ray, live[some]), some)
    assert all(is_right(read(ray, ref), i) for i, ref in live.items())


@pytest.mark.slow
def test_arrays_held_and_dropped_in_between_stay_right_while_held(ray):
    chance = random.Random(13)
    refs = [ray.put(numbers(i)) for i in range(MANY)]
    held = {}
    for _ in range(3 * MANY):
        i = chance.randrange(MANY)
        held[i] = read(ray, refs[i])
        if len(held) > 4:
            gone = chance.choice(list(held))
            del held[gone]
        assert all(is_right(array, number) for number, array in held.items())


@pytest.mark.slow
def test_spilled_refs_dropped_unread_harm_nothing(ray):
    for _ in range(3):
        refs = [ray.put(numbers(i)) for i in range(MANY)]
        del refs[::2]
        assert is_right(read(ray, refs[0]), 1)
        assert is_right(read(ray, refs[-1]), MANY - 1)
        del refs


def test_wait_takes_spilled_refs_for_ready(ray):
    refs = [ray.put(numbers(i)) for i in range(MANY)]
    assert ray.wait(refs, num_returns=MANY, timeout=LOST_SECONDS) == (refs, [])


@pytest.mark.slow
def test_wait_without_fetching_takes_spilled_refs_for_ready(ray):
    refs = [ray.put(numbers(i)) for i in range(MANY)]
    assert ray.wait(refs, num_returns=MANY, timeout=LOST_SECONDS, fetch_local=False) == (refs, [])


@pytest.mark.slow
def test_wait_for_results_beyond_the_store_sees_each_ready(ray):
    make = ray.remote(numbers)
    left = [make.remote(i) for i in range(MANY)]
    place = {ref: i for i, ref in enumerate(left)}
    while left:
        [ref], left = ray.wait(left, timeout=LOST_SECONDS)
        assert is_right(read(ray, ref), place.pop(ref))


@pytest.mark.slow
def test_small_objects_are_right_among_spilled_ones(ray):
    large = [ray.put(numbers(i)) for i in range(MANY)]
    small = [ray.put(("small", i)) for i in range(500)]
    assert all(is_right(read(ray, ref), i) for i, ref in enumerate(large))
    assert read(ray, small) == [("small", i) for i in range(500)]


@pytest.mark.slow
def test_many_medium_objects_beyond_the_store_are_read_back(ray):
    refs = [ray.put(np.full(25_000, i)) for i in range(1_200)]
    assert all(bool((read(ray, ref) == i).all()) for i, ref in enumerate(refs))


@pytest.mark.slow
def test_bytes_beyond_the_store_are_read_back(ray):
    refs = [ray.put(bytes([i]) * 10_000_000) for i in range(MANY)]
    assert all(read(ray, ref) == bytes([i]) * 10_000_000 for i, ref in enumerate(refs))


@pytest.mark.slow
def test_threads_read_spilled_refs_at_once(ray):
    import concurrent.futures

    refs = [ray.put(numbers(i)) for i in range(MANY)]
    places = [*range(MANY), *reversed(range(MANY))]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert all(pool.map(lambda i: is_right(read(ray, refs[i]), i), places))


@pytest.mark.slow
def test_task_retried_after_a_crash_gets_its_spilled_argument(ray, runs):
    @ray.remote(max_retries=2)
    def crash_once(runs, array):
        import os

        if runs.add() == 1:
            os._exit(1)
        return is_right(array, 0)

    refs = [ray.put(numbers(i)) for i in range(MANY)]
    assert read(ray, crash_once.remote(runs, refs[0])) is True


@pytest.mark.slow
def test_program_that_ends_with_a_full_store_ends_well(run_program):
    finished = run_program(f"""
import numpy as np
ray.init(num_cpus=2, object_store_memory={STORE_BYTES}, include_dashboard=False, log_to_driver=False)
refs = [ray.put(np.full({LENGTH}, i, dtype="f8")) for i in range({MANY})]
held = [ray.get(ref) for ref in refs[:12]]
print("sums", [int(array[0]) for array in held])
""")
    assert f"sums {list(range(12))}" in finished.stdout
