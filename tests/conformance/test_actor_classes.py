"""Actor classes as classes: static and class methods, attributes, inheritance, instantiation, pickling."""

import pickle

import pytest

pytestmark = pytest.mark.usefixtures("session")


def test_attributes_of_the_class_stay_usable(ray):
    @ray.remote
    class Actor:
        limit = 7

    assert Actor.limit == 7


def test_static_and_class_methods_of_the_class_stay_usable(ray):
    @ray.remote
    class Actor:
        limit = 7

        @staticmethod
        def double(x):
            return 2 * x

        @classmethod
        def limit_times(cls, x):
            return cls.limit * x

    assert Actor.double(2) == 4
    assert Actor.limit_times(2) == 14


def test_static_and_class_methods_may_be_called_on_a_handle(ray):
    @ray.remote
    class Actor:
        limit = 7

        @staticmethod
        def double(x):
            return 2 * x

        @classmethod
        def limit_times(cls, x):
            return cls.limit * x

    actor = Actor.remote()
    assert ray.get([actor.double.remote(2), actor.limit_times.remote(2)]) == [4, 14]


def test_wrong_arguments_of_static_and_class_methods_are_type_errors(ray):
    @ray.remote
    class Actor:
        @staticmethod
        def double(x):
            return 2 * x

        @classmethod
        def triple(cls, x):
            return 3 * x

    actor = Actor.remote()
    for method in (actor.double, actor.triple):
        with pytest.raises(TypeError):
            method.remote()
        with pytest.raises(TypeError):
            method.remote(1, 2)


def test_doc_and_module_of_the_class_stay(ray):
    @ray.remote
    class Actor:
        """What it does."""

    assert Actor.__module__ == __name__


def test_instantiating_is_a_type_error_that_names_the_way(ray):
    @ray.remote
    class Actor:
        pass

    with pytest.raises(TypeError, match=r"Actor\.remote\(\)"):
        Actor()


def test_subclassing_an_actor_class_is_an_error_of_its_own(ray):
    @ray.remote
    class Base:
        pass

    with pytest.raises(ray.actor.ActorClassInheritanceException, match="Base"):

        class Derived(Base):
            pass


def test_inheritance_error_is_a_type_error(ray):
    @ray.remote
    class Base:
        pass

    with pytest.raises(TypeError):

        @ray.remote
        class Derived(Base):
            pass


def test_methods_of_a_plain_base_class_are_methods_of_the_actor(ray):
    class Base:
        def __init__(self, value):
            self.value = value

        def read(self):
            return self.value

        def name(self):
            return "base"

    @ray.remote
    class Derived(Base):
        def __init__(self, value):
            super().__init__(value + 1)

        def name(self):
            return "derived", super().name()

    actor = Derived.remote(1)
    assert ray.get([actor.read.remote(), actor.name.remote()]) == [2, ("derived", "base")]


def test_constructor_of_a_base_class_serves(ray):
    class Base:
        def __init__(self, value):
            self.value = value

    @ray.remote
    class Derived(Base):
        def read(self):
            return self.value

    assert ray.get(Derived.remote("inherited").read.remote()) == "inherited"
    with pytest.raises(TypeError):
        Derived.remote()


def test_several_base_classes_work(ray):
    class Left:
        def left(self):
            return "left"

    class Right:
        def right(self):
            return "right"

    @ray.remote
    class Both(Left, Right):
        pass

    actor = Both.remote()
    assert ray.get([actor.left.remote(), actor.right.remote()]) == ["left", "right"]


def test_abstract_base_classes_work(ray):
    import abc

    class Base(abc.ABC):
        @abc.abstractmethod
        def answer(self): ...

        def twice(self):
            return 2 * self.answer()

    @ray.remote
    class Concrete(Base):
        def answer(self):
            return 21

    assert ray.get(Concrete.remote().twice.remote()) == 42


def test_one_plain_class_may_serve_as_actor_and_as_object(ray):
    class Plain:
        def answer(self):
            return 42

    actor_class = ray.remote(Plain)
    assert Plain().answer() == 42
    assert ray.get(actor_class.remote().answer.remote()) == 42


def test_dataclasses_may_be_actors(ray):
    import dataclasses

    @dataclasses.dataclass
    class Point:
        x: int
        y: int = 2

        def total(self):
            return self.x + self.y

    assert ray.get(ray.remote(Point).remote(1).total.remote()) == 3
    assert ray.get(ray.remote(Point).remote(x=1, y=5).total.remote()) == 6


def test_decorated_methods_may_be_called(ray):
    import functools

    def doubled(method):
        @functools.wraps(method)
        def wrapper(*args, **kwargs):
            return 2 * method(*args, **kwargs)

        return wrapper

    @ray.remote
    class Actor:
        @doubled
        def answer(self, x):
            return x

    assert ray.get(Actor.remote().answer.remote(21)) == 42


def test_methods_that_are_lambdas_or_assigned_functions_may_be_called(ray):
    def outside(self, x):
        return self.base + x

    @ray.remote
    class Actor:
        base = 40
        add = outside
        double = lambda self, x: 2 * x  # noqa: E731

    actor = Actor.remote()
    assert ray.get([actor.add.remote(2), actor.double.remote(2)]) == [42, 4]


def test_method_with_only_stars_takes_anything(ray):
    @ray.remote
    class Actor:
        def anything(self, *args, **kwargs):
            return args, kwargs

    assert ray.get(Actor.remote().anything.remote(1, 2, a=3)) == ((1, 2), {"a": 3})


def test_actor_class_may_be_pickled_and_sent(ray):
    @ray.remote(num_cpus=0)
    class Actor:
        def answer(self):
            return 42

    @ray.remote
    def make(actor_class):
        return ray.get(actor_class.remote().answer.remote())

    assert ray.get(make.remote(Actor)) == 42


def test_class_may_be_defined_inside_a_task(ray):
    @ray.remote
    def define():
        @ray.remote(num_cpus=0)
        class Inner:
            def answer(self):
                return 42

        return ray.get(Inner.remote().answer.remote())

    assert ray.get(define.remote()) == 42


def test_instance_has_the_class_that_the_user_wrote(ray):
    class Plain:
        def is_plain(self):
            return isinstance(self, Plain), type(self).__name__

    assert ray.get(ray.remote(Plain).remote().is_plain.remote()) == (True, "Plain")


def test_instances_may_be_made_of_the_class_inside_the_actor(ray):
    class Node:
        def __init__(self, depth=0):
            self.child = Node(depth - 1) if depth else None

        def depth(self):
            return 1 + self.child.depth() if self.child else 0

    assert ray.get(ray.remote(Node).remote(3).depth.remote()) == 3


def test_class_methods_may_change_the_class_in_the_actor_only(ray):
    @ray.remote
    class Actor:
        shared = 0

        @classmethod
        def raise_shared(cls):
            cls.shared += 1
            return cls.shared

    actor = Actor.remote()
    assert ray.get([actor.raise_shared.remote(), actor.raise_shared.remote()]) == [1, 2]
    assert Actor.shared == 0


def test_values_of_the_users_types_go_through_an_actor(ray):
    from rendezvous import RunLog

    @ray.remote
    class Actor:
        def back(self, value):
            return type(value).__name__, value

    name, value = ray.get(Actor.remote().back.remote(pickle.loads(pickle.dumps(RunLog.__name__))))
    assert (name, value) == ("str", "RunLog")


def test_context_manager_methods_of_the_instance_work(ray):
    @ray.remote
    class Actor:
        def __enter__(self):
            return "entered"

        def __exit__(self, *_):
            return None

        def use(self):
            with self as found:
                return found

    assert ray.get(Actor.remote().use.remote()) == "entered"


def test_del_runs_in_an_actor_that_ends_in_order(ray, started):
    @ray.remote
    class Actor:
        def __init__(self, started):
            self.started = started

        def answer(self):
            return 42

        def __del__(self):
            self.started.send("deleted")

    actor = Actor.remote(started)
    assert ray.get(actor.answer.remote()) == 42
    del actor
    assert started.receive() == "deleted"
