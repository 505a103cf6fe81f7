"""References as a program can see them: an object is there as long as a ref to it is anywhere, however it got there.

No body looks into the store: it drops what it may drop, puts other large objects over what was freed, and reads.
"""

import gc
import queue
import random
import threading

import cloudpickle
import pytest
from payloads import Point

pytestmark = pytest.mark.usefixtures("session")

# More than travels inside a message on any backend.
SIZE = 300_000

# What is lost or never comes is an error after this many seconds instead of a hang: a watchdog.
LOST_SECONDS = 60


def content(number):
    return bytes([number % 251]) * SIZE


def churn(ray):
    """Collect garbage, then put and drop twenty large objects, which take the memory of whatever was freed."""
    gc.collect()
    for _ in range(2):
        ray.get([ray.put(b"\xff" * SIZE) for _ in range(10)])


def read(ray, ref):
    return ray.get(ref, timeout=LOST_SECONDS)


@pytest.fixture
def pickler(backend, ray):
    """Give the pickler that pins what a pickled ref refers to: Ray's copy of cloudpickle, elsewhere cloudpickle itself."""
    return ray.cloudpickle if backend == "ray" else cloudpickle


# --------------------------------------------------------------------------------------------------- refs inside values


@pytest.mark.parametrize(
    ("wrap", "unwrap"),
    [
        (lambda ref: [ref], lambda outer: outer[0]),
        (lambda ref: (ref,), lambda outer: outer[0]),
        (lambda ref: {"ref": ref}, lambda outer: outer["ref"]),
        (lambda ref: {ref: "key"}, lambda outer: next(iter(outer))),
        (lambda ref: {ref}, lambda outer: next(iter(outer))),
        (lambda ref: frozenset([ref]), lambda outer: next(iter(outer))),
        (lambda ref: Point(ref, None), lambda outer: outer.x),
        (lambda ref: [{"deep": ([Point(None, [ref])],)}], lambda outer: outer[0]["deep"][0][0].y[0]),
    ],
    ids=["list", "tuple", "dict", "key", "set", "frozenset", "dataclass", "deep"],
)
@pytest.mark.parametrize("how", ["put", "argument", "result"])
def test_ref_in_any_container_keeps_its_object(ray, how, wrap, unwrap):
    @ray.remote
    def pass_on(outer):
        return outer

    inner = ray.put(content(1))
    if how == "put":
        outer = ray.put(wrap(inner))
    elif how == "argument":
        outer = pass_on.remote(wrap(inner))
    else:
        outer = ray.remote(lambda: wrap(ray.put(content(1)))).remote()
    del inner
    churn(ray)
    assert read(ray, unwrap(read(ray, outer))) == content(1)


def test_refs_inside_objects_inside_objects_keep_the_innermost(ray):
    ref = ray.put(content(3))
    for _ in range(20):
        ref = ray.put([ref])
    churn(ray)
    for _ in range(20):
        [ref] = read(ray, ref)
    assert read(ray, ref) == content(3)


def test_chain_of_tasks_passes_a_nested_ref_on(ray):
    @ray.remote
    def pass_on(outer):
        return {"again": outer}

    ref = ray.put([ray.put(content(4))])
    for _ in range(6):
        ref = pass_on.remote(ref)
    churn(ray)
    value = read(ray, ref)
    for _ in range(6):
        value = value["again"]
    assert read(ray, value[0]) == content(4)


def test_returned_ref_is_given_as_a_ref_one_level_only(ray):
    @ray.remote
    def inner():
        return content(5)

    @ray.remote
    def outer():
        return inner.remote()

    @ray.remote
    def outermost():
        return outer.remote()

    ref = read(ray, outermost.remote())
    assert isinstance(ref, ray.ObjectRef)
    churn(ray)
    ref = read(ray, ref)
    assert isinstance(ref, ray.ObjectRef)
    churn(ray)
    assert read(ray, ref) == content(5)


def test_returned_ref_as_argument_arrives_as_a_ref(ray):
    @ray.remote
    def give():
        return ray.put(content(6))

    @ray.remote
    def take(value):
        return isinstance(value, ray.ObjectRef) and ray.get(value) == content(6)

    assert read(ray, take.remote(give.remote())) is True


def test_task_that_returns_its_nested_argument_ref_gives_the_same_ref(ray):
    ref = ray.put(content(7))
    same = read(ray, ray.remote(lambda refs: refs[0]).remote([ref]))
    assert same == ref
    del ref
    churn(ray)
    assert read(ray, same) == content(7)


def test_each_of_several_returns_may_hold_refs(ray):
    @ray.remote(num_returns=3)
    def give():
        refs = [ray.put(content(i)) for i in range(3)]
        return refs[0], [refs[1]], {"ref": refs[2]}

    first, second, third = give.remote()
    churn(ray)
    assert read(ray, read(ray, first)) == content(0)
    assert read(ray, read(ray, second)[0]) == content(1)
    assert read(ray, read(ray, third)["ref"]) == content(2)


def test_thousands_of_refs_in_one_object_all_resolve(ray):
    outer = ray.put([ray.put(i) for i in range(3_000)])
    churn(ray)
    assert ray.get(read(ray, outer), timeout=LOST_SECONDS) == list(range(3_000))


def test_thousands_of_refs_in_one_argument_all_resolve(ray):
    task = ray.remote(lambda refs: sum(ray.get(refs)))
    assert read(ray, task.remote([ray.put(i) for i in range(2_000)])) == sum(range(2_000))


def test_thousands_of_refs_in_one_result_all_resolve(ray):
    outer = ray.remote(lambda: [ray.put(i) for i in range(2_000)]).remote()
    assert ray.get(read(ray, outer), timeout=LOST_SECONDS) == list(range(2_000))


def test_one_ref_many_times_in_one_object_is_equal_everywhere_and_resolves(ray):
    inner = ray.put(content(8))
    outer = ray.put([inner] * 1_000)
    del inner
    churn(ray)
    refs = read(ray, outer)
    assert len(set(refs)) == 1
    del outer
    last = refs[-1]
    del refs
    churn(ray)
    assert read(ray, last) == content(8)


def test_one_ref_many_times_among_arguments_resolves(ray):
    ref = ray.put(content(9))
    task = ray.remote(lambda *values, **named: {*values, *named.values()} == {content(9)})
    result = task.remote(ref, ref, ref, a=ref, b=ref)
    del ref
    assert read(ray, result) is True


def test_one_ref_both_plain_and_nested_among_arguments_resolves(ray):
    ref = ray.put(content(10))
    result = ray.remote(lambda value, refs: value == ray.get(refs[0]) == content(10)).remote(ref, [ref])
    del ref
    assert read(ray, result) is True


def test_ref_taken_out_of_an_object_outlives_it(ray):
    outer = ray.put([ray.put(content(11)), ray.put(content(12))])
    kept = read(ray, outer)[1]
    del outer
    churn(ray)
    assert read(ray, kept) == content(12)


def test_object_read_twice_gives_refs_that_live_apart(ray):
    outer = ray.put([ray.put(content(13))])
    [first], [second] = read(ray, outer), read(ray, outer)
    del first, outer
    churn(ray)
    assert read(ray, second) == content(13)


def test_graph_with_a_shared_leaf_keeps_it_until_the_last_way_is_gone(ray):
    leaf = ray.put(content(14))
    left, right = ray.put([leaf]), ray.put([leaf])
    top = ray.put([left, right])
    del leaf, left
    _, right = read(ray, top)
    del top
    churn(ray)
    assert read(ray, read(ray, right)[0]) == content(14)


# ------------------------------------------------------------------------------------------------ closures and pickles


def test_ref_in_the_closure_of_a_remote_function_resolves(ray):
    ref = ray.put(content(15))
    task = ray.remote(lambda: ray.get(ref) == content(15))
    assert read(ray, task.remote()) is True


@pytest.mark.slow
def test_ref_in_the_closure_of_a_remote_function_lives_when_the_driver_drops_it(ray):
    def make():
        ref = ray.put(content(16))
        return ray.remote(lambda: ray.get(ref) == content(16))

    task = make()
    churn(ray)
    assert read(ray, task.remote()) is True
    churn(ray)
    assert ray.get([task.remote() for _ in range(10)], timeout=LOST_SECONDS) == [True] * 10


def test_ref_in_a_default_argument_of_a_remote_function_resolves(ray):
    def task(refs):
        return ray.get(refs[0]) == content(17)

    task.__defaults__ = ([ray.put(content(17))],)
    task = ray.remote(task)
    churn(ray)
    assert read(ray, task.remote()) is True


def test_ref_in_a_function_given_as_argument_resolves(ray):
    def make():
        ref = ray.put(content(18))
        return lambda: ray.get(ref) == content(18)

    result = ray.remote(lambda function: function()).remote(make())
    churn(ray)
    assert read(ray, result) is True


def test_ref_in_a_function_returned_by_a_task_resolves(ray):
    def make():
        ref = ray.put(content(19))
        return lambda: ray.get(ref)

    function = read(ray, ray.remote(make).remote())
    churn(ray)
    assert read(ray, ray.put(1)) == 1
    assert function() == content(19)


def test_ref_pickled_by_hand_resolves_as_long_as_the_driver_keeps_another(ray):
    ref = ray.put(content(20))
    data = cloudpickle.dumps({"ref": ref})
    loaded = [cloudpickle.loads(data)["ref"] for _ in range(3)]
    del loaded[0]
    churn(ray)
    assert ray.get([*loaded, ref], timeout=LOST_SECONDS) == [content(20)] * 3


def test_ref_pickled_by_hand_keeps_its_object(ray, pickler):
    ref = ray.put(content(20))
    data = pickler.dumps({"ref": ref})
    del ref
    churn(ray)
    assert read(ray, pickler.loads(data)["ref"]) == content(20)


def test_pickle_of_a_ref_may_be_loaded_many_times(ray, pickler):
    ref = ray.put(content(21))
    data = pickler.dumps(ref)
    del ref
    for _ in range(3):
        same = pickler.loads(data)
        assert read(ray, same) == content(21)
        del same
        churn(ray)


def test_ref_pickled_by_hand_and_sent_as_bytes_resolves_in_a_task(ray, pickler):
    def make():
        return pickler.dumps([ray.put(content(22))])

    data = make()
    churn(ray)
    result = ray.remote(lambda data: ray.get(pickler.loads(data)[0]) == content(22)).remote(data)
    assert read(ray, result) is True


def test_ref_pickled_by_hand_in_a_task_resolves_in_the_driver(ray, pickler):
    data = read(ray, ray.remote(lambda: pickler.dumps(ray.put(content(23)))).remote())
    churn(ray)
    assert read(ray, pickler.loads(data)) == content(23)


# ------------------------------------------------------------------------------------------------------------- workers


def test_object_put_by_a_worker_is_there_after_the_task_ended(ray):
    [ref] = read(ray, ray.remote(lambda: [ray.put(content(24))]).remote())
    read(ray, ray.remote(lambda: gc.collect()).remote())
    churn(ray)
    assert read(ray, ref) == content(24)


def test_object_put_by_a_worker_goes_to_another_task_after_its_own_ended(ray):
    outer = ray.remote(lambda: [ray.put(content(25))]).remote()
    look = ray.remote(lambda refs: ray.get(refs[0]) == content(25))
    ready, _ = ray.wait([outer], timeout=LOST_SECONDS)
    assert ready == [outer]
    churn(ray)
    result = look.remote(outer)
    del outer, ready
    assert read(ray, result) is True


@pytest.mark.slow
def test_result_of_a_child_task_is_there_after_the_parent_ended(ray, gate):
    @ray.remote
    def child(gate):
        gate.wait()
        return content(26)

    @ray.remote
    def parent(gate):
        return [child.remote(gate)]

    [ref] = read(ray, parent.remote(gate))
    assert ray.wait([ref], timeout=0) == ([], [ref])
    gate.open()
    assert read(ray, ref) == content(26)


def test_ref_kept_in_a_global_of_a_worker_serves_a_later_task(ray):
    @ray.remote
    def keep(refs):
        import builtins

        builtins.kept_ref = refs[0]

    @ray.remote
    def use():
        import builtins

        kept = getattr(builtins, "kept_ref", None)
        return None if kept is None else ray.get(kept) == content(27)

    ref = ray.put(content(27))
    read(ray, keep.remote([ref]))
    del ref
    churn(ray)
    answers = ray.get([use.remote() for _ in range(20)], timeout=LOST_SECONDS)
    assert set(answers) <= {None, True}


def test_borrowed_ref_kept_by_a_worker_comes_back_to_the_driver(ray):
    @ray.remote
    def keep(refs):
        import builtins

        builtins.lent_ref = refs[0]

    @ray.remote
    def give_back():
        import builtins

        return [getattr(builtins, "lent_ref", None)]

    ref = ray.put(content(28))
    read(ray, keep.remote([ref]))
    del ref
    churn(ray)
    given = [kept for [kept] in ray.get([give_back.remote() for _ in range(20)], timeout=LOST_SECONDS) if kept]
    churn(ray)
    assert all(read(ray, kept) == content(28) for kept in given)


@pytest.mark.slow
def test_task_lends_a_ref_to_its_child_and_ends_before_it(ray, gate):
    @ray.remote
    def child(gate, refs):
        gate.wait()
        return ray.get(refs[0]) == content(29)

    @ray.remote
    def parent(gate, refs):
        return [child.remote(gate, refs)]

    result = parent.remote(gate, [ray.put(content(29))])
    [ref] = read(ray, result)
    del result
    churn(ray)
    gate.open()
    assert read(ray, ref) is True


@pytest.mark.slow
def test_ref_put_by_a_parent_outlives_it_in_a_child(ray, gate):
    @ray.remote
    def child(gate, value):
        gate.wait()
        return value == content(30)

    @ray.remote
    def parent(gate):
        return [child.remote(gate, ray.put(content(30)))]

    [ref] = read(ray, parent.remote(gate))
    churn(ray)
    gate.open()
    assert read(ray, ref) is True


def test_ref_goes_down_and_up_a_tree_of_tasks(ray):
    @ray.remote
    def down(refs, depth):
        if depth == 0:
            return refs
        return ray.get(down.remote(refs, depth - 1))

    result = down.remote([ray.put(content(31))], 4)
    churn(ray)
    assert read(ray, read(ray, result)[0]) == content(31)


# ---------------------------------------------------------------------------------------------------- queued arguments


def test_queued_task_keeps_its_argument_when_the_driver_drops_the_last_ref(ray, gate):
    wait = ray.remote(num_cpus=2)(lambda gate: gate.wait())
    look = ray.remote(lambda value: value == content(32))
    blocker = wait.remote(gate)
    result = look.remote(ray.put(content(32)))
    churn(ray)
    gate.open()
    assert read(ray, result) is True
    read(ray, blocker)


def test_queued_task_keeps_a_nested_argument_when_the_driver_drops_the_last_ref(ray, gate):
    wait = ray.remote(num_cpus=2)(lambda gate: gate.wait())
    look = ray.remote(lambda refs: ray.get(refs[0]) == content(33))
    blocker = wait.remote(gate)
    result = look.remote([ray.put(content(33))])
    churn(ray)
    gate.open()
    assert read(ray, result) is True
    read(ray, blocker)


def test_task_waiting_for_one_argument_keeps_the_other(ray, gate):
    @ray.remote
    def late(gate):
        gate.wait()
        return "late"

    look = ray.remote(lambda value, other: (value == content(34), other))
    result = look.remote(ray.put(content(34)), late.remote(gate))
    churn(ray)
    gate.open()
    assert read(ray, result) == (True, "late")


def test_queued_chain_needs_no_ref_but_the_last(ray, gate):
    @ray.remote
    def first(gate):
        gate.wait()
        return content(35)

    ref = first.remote(gate)
    for _ in range(20):
        ref = ray.remote(lambda value: value).remote(ref)
    churn(ray)
    gate.open()
    assert read(ray, ref) == content(35)


def test_task_whose_result_nobody_wants_still_gets_its_argument(ray, gate, started):
    @ray.remote
    def tell(gate, started, value):
        gate.wait()
        started.send(str(value == content(36)))

    tell.remote(gate, started, ray.put(content(36)))
    churn(ray)
    gate.open()
    assert started.receive() == "True"


def test_arguments_of_hundreds_of_queued_tasks_all_arrive(ray, gate):
    wait = ray.remote(num_cpus=2)(lambda gate: gate.wait())
    blocker = wait.remote(gate)
    look = ray.remote(lambda number, value, refs: (number, value, ray.get(refs[0])))
    results = [look.remote(i, ray.put(f"plain {i}"), [ray.put(f"nested {i}")]) for i in range(300)]
    churn(ray)
    gate.open()
    expected = [(i, f"plain {i}", f"nested {i}") for i in range(300)]
    assert ray.get(results, timeout=LOST_SECONDS) == expected
    read(ray, blocker)


@pytest.mark.slow
def test_retried_task_gets_its_argument_again_after_the_driver_dropped_it(ray, runs):
    @ray.remote(max_retries=2)
    def crash_once(runs, value, refs):
        import os

        if runs.add() == 1:
            os._exit(1)
        return value == content(37) and ray.get(refs[0]) == content(38)

    result = crash_once.remote(runs, ray.put(content(37)), [ray.put(content(38))])
    churn(ray)
    assert read(ray, result) is True
    assert len(runs.lines()) == 2


def test_failed_task_does_not_take_its_argument_along(ray):
    @ray.remote
    def fail(value, refs):
        raise ValueError("on purpose")

    plain, nested = ray.put(content(39)), ray.put(content(40))
    for _ in range(3):
        with pytest.raises(ValueError, match="on purpose"):
            read(ray, fail.remote(plain, [nested]))
    churn(ray)
    assert read(ray, plain) == content(39)
    assert read(ray, nested) == content(40)


def test_ref_in_an_exception_of_a_task_resolves(ray):
    @ray.remote
    def fail():
        error = ValueError("with a ref")
        error.ref = ray.put(content(41))
        raise error

    with pytest.raises(ValueError, match="with a ref") as caught:
        read(ray, fail.remote())
    churn(ray)
    assert read(ray, caught.value.ref) == content(41)


# ------------------------------------------------------------------------------------- orders, threads, ends of objects


@pytest.mark.parametrize("order", ["first to last", "last to first", "shuffled"])
def test_refs_dropped_in_any_order_leave_the_others_right(ray, order):
    refs = {i: ray.put(content(i)) for i in range(40)}
    dropped = list(range(40))
    if order == "last to first":
        dropped.reverse()
    elif order == "shuffled":
        random.Random(7).shuffle(dropped)
    for number in dropped[:30]:
        del refs[number]
        replacement = ray.put(b"\xff" * SIZE)
        some = dropped[30 + number % 10]
        assert read(ray, refs[some]) == content(some)
        del replacement
    assert all(read(ray, ref) == content(number) for number, ref in refs.items())


def test_outer_objects_dropped_before_and_after_the_inner_ones(ray):
    inner = [ray.put(content(i)) for i in range(10)]
    outer = [ray.put([ref]) for ref in inner]
    for i in range(10):
        if i % 2:
            inner[i] = None
        else:
            outer[i] = None
    churn(ray)
    for i in range(10):
        ref = read(ray, outer[i])[0] if i % 2 else inner[i]
        assert read(ray, ref) == content(i)


def test_ref_dropped_in_a_finalizer_harms_nothing(ray):
    class Holder:
        def __init__(self, ref):
            self.ref = ref

        def __del__(self):
            del self.ref

    kept = ray.put(content(42))
    for _ in range(50):
        Holder(ray.put(content(43)))
        Holder(kept)
    churn(ray)
    assert read(ray, kept) == content(42)


def test_finalizer_may_put_and_get(ray):
    results = []

    class Holder:
        def __del__(self):
            results.append(ray.get(ray.put(content(44))) == content(44))

    for _ in range(5):
        Holder()
    gc.collect()
    assert results == [True] * 5


def test_refs_in_garbage_cycles_harm_nothing(ray):
    class Node:
        pass

    kept = ray.put(content(45))
    for _ in range(30):
        first, second = Node(), Node()
        first.other, second.other = second, first
        first.ref, second.ref = ray.put(content(46)), kept
    del first, second
    churn(ray)
    assert read(ray, kept) == content(45)


def test_ref_brought_back_by_a_finalizer_still_resolves(ray):
    rescued = []

    class Phoenix:
        def __init__(self, ref):
            self.ref = ref
            self.cycle = self

        def __del__(self):
            rescued.append(self.ref)

    Phoenix(ray.put(content(47)))
    gc.collect()
    churn(ray)
    [ref] = rescued
    assert read(ray, ref) == content(47)


def test_refs_made_and_dropped_by_many_threads_resolve_while_they_are_there(ray):
    wrong = []

    def work(number):
        try:
            for i in range(20):
                outer = ray.put([ray.put(content(number + i))])
                [inner] = ray.get(outer, timeout=LOST_SECONDS)
                del outer
                if ray.get(inner, timeout=LOST_SECONDS) != content(number + i):
                    wrong.append((number, i))
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_ref_handed_from_thread_to_thread_resolves(ray):
    handed, read_there = queue.Queue(), queue.Queue()

    def consume():
        while (ref := handed.get()) is not None:
            read_there.put(ray.get(ref, timeout=LOST_SECONDS))
            del ref

    consumer = threading.Thread(target=consume)
    consumer.start()
    for i in range(30):
        handed.put(ray.put(content(i)))
    handed.put(None)
    consumer.join()
    assert [read_there.get_nowait() for _ in range(30)] == [content(i) for i in range(30)]


def test_last_ref_dropped_by_another_thread_harms_no_other(ray):
    kept = [ray.put(content(i)) for i in range(20)]
    lost = [ray.put(content(100 + i)) for i in range(200)]
    threads = [threading.Thread(target=lambda part: part.clear(), args=(lost[i::4],)) for i in range(4)]
    del lost
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    churn(ray)
    assert ray.get(kept, timeout=LOST_SECONDS) == [content(i) for i in range(20)]


def test_value_read_by_one_thread_survives_the_drop_of_the_ref_by_another(ray):
    refs = [ray.put(content(48))]
    value = read(ray, refs[0])
    dropper = threading.Thread(target=refs.clear)
    dropper.start()
    dropper.join()
    churn(ray)
    assert value == content(48)


def test_wait_gives_refs_that_keep_their_objects(ray):
    ready, rest = ray.wait([ray.put(content(49)), ray.put(content(50))], num_returns=2)
    assert rest == []
    churn(ray)
    assert ray.get(ready, timeout=LOST_SECONDS) == [content(49), content(50)]


def test_timed_out_get_leaves_the_ref_usable(ray, exceptions, gate):
    @ray.remote
    def late(gate, value):
        gate.wait()
        return value

    ref = late.remote(gate, ray.put(content(51)))
    for _ in range(3):
        with pytest.raises(exceptions.GetTimeoutError):
            ray.get(ref, timeout=0)
    gate.open()
    churn(ray)
    assert read(ray, ref) == content(51)


def test_get_of_a_ref_that_only_the_call_holds(ray):
    assert ray.get([ray.put(content(i)) for i in range(10)], timeout=LOST_SECONDS) == [content(i) for i in range(10)]


def test_same_task_result_read_by_driver_and_tasks_at_once(ray):
    ref = ray.remote(lambda: content(53)).remote()
    looks = [ray.remote(lambda value: value == content(53)).remote(ref) for _ in range(20)]
    own = read(ray, ref)
    del ref
    assert ray.get(looks, timeout=LOST_SECONDS) == [True] * 20
    assert own == content(53)


def test_repeated_passing_of_a_ref_to_and_fro_loses_no_object(ray):
    @ray.remote
    def swap(refs):
        return [*refs[1:], ray.put(ray.get(refs[0]))]

    refs = [ray.put(content(i)) for i in range(3)]
    for _ in range(12):
        refs = read(ray, swap.remote(refs))
    churn(ray)
    assert ray.get(refs, timeout=LOST_SECONDS) == [content(i) for i in range(3)]


@pytest.mark.slow
def test_random_program_of_puts_tasks_nestings_and_drops_reads_only_right_values(ray):
    chance = random.Random(20)
    nest = ray.remote(lambda outer: [outer])
    move = ray.remote(lambda refs: refs[0])
    live = []
    for step in range(400):
        action = chance.randrange(6)
        if action <= 1 or not live:
            live.append((0, ray.put((step, content(step))), step))
        else:
            place = chance.randrange(len(live))
            depth, ref, number = live[place]
            if action == 2:
                live[place] = (depth + 1, ray.put([ref]), number)
            elif action == 3:
                live[place] = (depth + 1, nest.remote([ref]) if depth % 2 else ray.put([ref]), number)
                if depth % 2:
                    live[place] = (depth + 2, live[place][1], number)
            elif action == 4:
                live[place] = (depth, read(ray, move.remote([ref])), number)
            elif chance.random() < 0.6:
                del live[place]
        del live[:-40]
        ref = None
    churn(ray)
    for depth, ref, number in live:
        for _ in range(depth):
            [ref] = ref if isinstance(ref, list) else read(ray, ref)
        assert read(ray, ref) == (number, content(number))
