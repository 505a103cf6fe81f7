"""Named actors: found by get_actor, unique in their namespace, free again when the actor has ended."""

import pytest

pytestmark = pytest.mark.usefixtures("session")


@pytest.fixture
def Holder(ray):
    """Give an actor class that keeps a value."""

    @ray.remote(num_cpus=0)
    class Holder:
        def __init__(self, value=None):
            self.value = value

        def read(self):
            return self.value

        def leave(self):
            ray.actor.exit_actor()

    return Holder


def expect_end(ray, exceptions, actor):
    """Block until calls of the actor fail."""
    with pytest.raises(exceptions.RayActorError):
        repeat(lambda: ray.get(actor.read.remote()))


def repeat(function):
    """Call a function until it raises."""
    while True:
        function()


def test_get_actor_finds_an_actor_by_its_name(ray, Holder):
    actor = Holder.options(name="found").remote("value")
    found = ray.get_actor("found")
    assert found == actor
    assert ray.get(found.read.remote()) == "value"


def test_name_may_be_given_in_the_decorator(ray):
    @ray.remote(num_cpus=0, name="decorated")
    class Actor:
        def answer(self):
            return 42

    actor = Actor.remote()
    assert ray.get_actor("decorated") == actor


def test_get_actor_in_a_task_finds_it_too(ray, Holder):
    actor = Holder.options(name="of the driver").remote("value")
    assert ray.get(ray.remote(lambda: ray.get(ray.get_actor("of the driver").read.remote())).remote()) == "value"
    del actor


def test_actor_named_in_a_task_is_found_in_the_driver(ray, Holder):
    @ray.remote
    def make():
        return Holder.options(name="of the task").remote("value")

    actor = ray.get(make.remote())
    assert ray.get_actor("of the task") == actor


def test_actor_is_found_before_its_constructor_ran(ray, gate):
    @ray.remote(num_cpus=0)
    class Slow:
        def __init__(self, gate):
            gate.wait()

        def answer(self):
            return 42

    actor = Slow.options(name="slow").remote(gate)
    ref = ray.get_actor("slow").answer.remote()
    gate.open()
    assert ray.get(ref) == 42
    del actor


@pytest.mark.parametrize("name", ["with blanks", "gr\u00fc\u00dfe \u2713", "a/b.c:d", "x" * 300], ids=ascii)
def test_names_are_free_text(ray, Holder, name):
    actor = Holder.options(name=name).remote(1)
    assert ray.get_actor(name) == actor


def test_missing_name_is_a_value_error(ray):
    with pytest.raises(ValueError, match="Failed to look up actor with name 'nobody'"):
        ray.get_actor("nobody")


def test_empty_name_is_a_value_error(ray, Holder):
    with pytest.raises(ValueError):
        ray.get_actor("")
    with pytest.raises(ValueError):
        Holder.options(name="").remote()


def test_name_that_is_no_text_is_a_type_error(ray, Holder):
    with pytest.raises(TypeError):
        Holder.options(name=1).remote()


def test_taken_name_is_an_error_that_names_it(ray, exceptions, Holder):
    actor = Holder.options(name="taken").remote(1)
    with pytest.raises(exceptions.ActorAlreadyExistsError, match="The name taken .*already taken"):
        Holder.options(name="taken").remote(2)
    assert ray.get(ray.get_actor("taken").read.remote()) == 1
    del actor


def test_error_of_a_taken_name_is_a_value_error(ray, Holder):
    actor = Holder.options(name="taken").remote(1)
    with pytest.raises(ValueError, match="already taken"):
        Holder.options(name="taken").remote(2)
    del actor


def test_name_of_another_class_is_taken_too(ray, exceptions, Holder):
    @ray.remote(num_cpus=0)
    class Other:
        pass

    actor = Holder.options(name="taken").remote(1)
    with pytest.raises(exceptions.ActorAlreadyExistsError):
        Other.options(name="taken").remote()
    del actor


def test_name_of_a_killed_actor_is_free(ray, Holder):
    actor = Holder.options(name="again").remote("old")
    ray.get(actor.read.remote())
    ray.kill(actor)
    fresh = Holder.options(name="again").remote("new")
    assert ray.get(ray.get_actor("again").read.remote()) == "new"
    del fresh


def test_killed_actor_is_not_found(ray, Holder):
    actor = Holder.options(name="killed").remote()
    ray.get(actor.read.remote())
    ray.kill(actor)
    with pytest.raises(ValueError):
        ray.get_actor("killed")


def test_name_of_an_actor_that_left_is_free(ray, exceptions, Holder):
    actor = Holder.options(name="left").remote("old")
    with pytest.raises(exceptions.RayActorError):
        ray.get(actor.leave.remote())
    expect_end(ray, exceptions, actor)
    del actor  # until then it is still found in Ray
    fresh = None
    while fresh is None:
        try:
            fresh = Holder.options(name="left").remote("new")
        except ValueError:
            continue
    assert ray.get(fresh.read.remote()) == "new"


def test_name_goes_with_the_last_handle(ray, Holder):
    actor = Holder.options(name="gone").remote()
    assert ray.get_actor("gone") == actor
    del actor
    with pytest.raises(ValueError):
        repeat(lambda: ray.get_actor("gone"))


def test_found_handle_does_not_keep_the_actor(ray, exceptions, Holder):
    actor = Holder.options(name="weak").remote("value")
    found = ray.get_actor("weak")
    assert ray.get(found.read.remote()) == "value"
    del actor
    expect_end(ray, exceptions, found)


def test_found_handle_may_travel_and_is_equal(ray, Holder):
    actor = Holder.options(name="travels").remote("value")
    found = ray.get_actor("travels")
    assert ray.get(ray.remote(lambda handles: ray.get(handles[0].read.remote())).remote([found])) == "value"
    assert {found, actor} == {actor}


def test_call_through_a_found_handle_finishes_after_the_last_handle_went(ray, Holder, gate, started):
    @ray.remote(num_cpus=0)
    class Slow:
        def wait_for(self, gate, started):
            started.send()
            gate.wait()
            return "waited"

    actor = Slow.options(name="slow").remote()
    ref = ray.get_actor("slow").wait_for.remote(gate, started)
    started.receive()
    del actor
    gate.open()
    assert ray.get(ref) == "waited"


def test_same_name_in_two_namespaces_is_two_actors(ray, Holder):
    first = Holder.options(name="name", namespace="one").remote(1)
    second = Holder.options(name="name", namespace="two").remote(2)
    assert first != second
    assert ray.get(ray.get_actor("name", namespace="one").read.remote()) == 1
    assert ray.get(ray.get_actor("name", "two").read.remote()) == 2


def test_name_of_another_namespace_is_not_found(ray, Holder):
    actor = Holder.options(name="elsewhere", namespace="other").remote()
    with pytest.raises(ValueError):
        ray.get_actor("elsewhere")
    del actor


@pytest.mark.parametrize(("namespace", "error"), [("", ValueError), (1, TypeError)])
def test_wrong_namespace_is_an_error(ray, Holder, namespace, error):
    with pytest.raises(error):
        ray.get_actor("name", namespace=namespace)
    with pytest.raises(error):
        Holder.options(name="name", namespace=namespace).remote()


def test_namespace_without_a_name_does_nothing(ray, Holder):
    assert ray.get(Holder.options(namespace="other").remote(1).read.remote()) == 1


def test_namespace_of_the_session_is_the_default(run_program):
    run_program("""
ray.init(num_cpus=1, namespace="mine")

@ray.remote(num_cpus=0)
class Actor:
    def answer(self):
        return 42

actor = Actor.options(name="name").remote()
assert ray.get_actor("name") == ray.get_actor("name", namespace="mine") == actor

@ray.remote
def look():
    return ray.get(ray.get_actor("name").answer.remote())

assert ray.get(look.remote()) == 42
""")


def test_get_if_exists_makes_the_actor_once(ray, Holder):
    first = Holder.options(name="once", get_if_exists=True).remote("first")
    second = Holder.options(name="once", get_if_exists=True).remote("second")
    assert first == second
    assert ray.get(second.read.remote()) == "first"


def test_get_if_exists_in_the_decorator_counts(ray):
    @ray.remote(num_cpus=0, name="decorated", get_if_exists=True)
    class Actor:
        pass

    actor = Actor.remote()
    assert Actor.remote() == actor


def test_get_if_exists_and_name_may_be_given_apart(ray):
    @ray.remote(num_cpus=0, name="apart")
    class Actor:
        pass

    actor = Actor.options(get_if_exists=True).remote()
    assert Actor.options(get_if_exists=True).remote() == actor


def test_get_if_exists_needs_a_name(ray, Holder):
    with pytest.raises(ValueError, match="name"):
        Holder.options(get_if_exists=True).remote()


def test_get_if_exists_makes_a_new_actor_after_the_old_was_killed(ray, Holder):
    old = Holder.options(name="again", get_if_exists=True).remote("old")
    ray.get(old.read.remote())
    ray.kill(old)
    fresh = Holder.options(name="again", get_if_exists=True).remote("new")
    assert ray.get(fresh.read.remote()) == "new"


def test_tasks_that_race_for_a_name_share_one_actor(ray, Holder):
    keeper = Holder.remote()
    del keeper

    @ray.remote(num_cpus=0.5)
    def join(i):
        actor = Holder.options(name="raced", get_if_exists=True).remote(i)
        return actor, ray.get(actor.read.remote())

    found = ray.get([join.remote(i) for i in range(4)])
    assert len({actor for actor, _ in found}) == 1
    assert len({value for _, value in found}) == 1


def test_actor_whose_constructor_failed_frees_its_name(ray, exceptions, Holder):
    @ray.remote(num_cpus=0)
    class Failing:
        def __init__(self):
            raise ValueError("no")

        def read(self):
            pass

    failed = Failing.options(name="failed").remote()
    expect_end(ray, exceptions, failed)
    del failed  # until then it is still found in Ray
    fresh = None
    while fresh is None:
        try:
            fresh = Holder.options(name="failed").remote("new")
        except ValueError:
            continue
    assert ray.get(ray.get_actor("failed").read.remote()) == "new"


def test_names_of_an_ended_session_are_free(ray, Holder):
    old = Holder.options(name="of a session").remote("old")
    ray.get(old.read.remote())
    ray.shutdown()
    ray.init(num_cpus=2, resources={"gadget": 2}, include_dashboard=False, log_to_driver=False)
    with pytest.raises(ValueError):
        ray.get_actor("of a session")
    fresh = Holder.options(name="of a session").remote("new")
    assert ray.get(fresh.read.remote()) == "new"
    del old


def test_wrong_arguments_leave_the_name_free(ray, Holder):
    with pytest.raises(TypeError):
        Holder.options(name="free").remote(1, 2, 3)
    actor = Holder.options(name="free").remote(1)
    assert ray.get_actor("free") == actor


def test_get_actor_starts_a_session(ray, no_session):
    with pytest.raises(ValueError):
        ray.get_actor("nobody")
    assert ray.is_initialized()
