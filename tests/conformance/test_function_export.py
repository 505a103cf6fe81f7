"""What a worker sees of a function: it is pickled at its first call in a session, not when it is decorated."""

import threading

import pytest
from payloads import ImportedError, Point, double, raise_imported_error

pytestmark = pytest.mark.usefixtures("session")


def test_variable_set_between_decoration_and_first_call_is_seen(ray):
    level = 1

    @ray.remote
    def read():
        return level

    level = 2
    assert ray.get(read.remote()) == 2


def test_variable_changed_after_the_first_call_is_not_seen(ray):
    level = 1

    @ray.remote
    def read():
        return level

    assert ray.get(read.remote()) == 1
    level = 2
    assert ray.get(read.remote()) == 1


def test_global_of_main_set_between_decoration_and_first_call_is_seen(run_program):
    finished = run_program("""
ray.init(num_cpus=1)
level = 1

@ray.remote
def read():
    return level

level = 2
print("first", ray.get(read.remote()))
level = 3
print("second", ray.get(read.remote()))
""")
    assert "first 2" in finished.stdout
    assert "second 2" in finished.stdout


def test_redefinition_is_a_new_function_even_if_its_source_is_equal(ray):
    def define(value):
        @ray.remote
        def read():
            return value

        return read

    first, second = define(1), define(2)
    assert ray.get([first.remote(), second.remote(), first.remote()]) == [1, 2, 1]


def test_redefinition_under_the_same_name_in_main_is_the_new_function(run_program):
    finished = run_program("""
ray.init(num_cpus=1)

@ray.remote
def answer():
    return "old"

print("one", ray.get(answer.remote()))
kept = answer

@ray.remote
def answer():
    return "new"

print("two", ray.get(answer.remote()))
print("three", ray.get(kept.remote()))
""")
    assert "one old" in finished.stdout
    assert "two new" in finished.stdout
    assert "three old" in finished.stdout


def test_function_of_an_imported_module_is_that_of_the_worker(ray):
    assert ray.get(ray.remote(double).remote(4)) == 8
    assert ray.get(ray.remote(lambda x: double(x)).remote(5)) == 10


def test_class_of_an_imported_module_is_the_same_class_in_the_task(ray):
    point = ray.get(ray.remote(lambda p: Point(p.y, p.x)).remote(Point(1, 2)))
    assert point == Point(2, 1)
    assert type(point) is Point


def test_error_class_of_an_imported_module_is_the_same_class_in_the_driver(ray):
    with pytest.raises(ImportedError) as caught:
        ray.get(ray.remote(raise_imported_error).remote(12))
    assert caught.value.code == 12


def test_class_of_main_is_the_same_class_when_it_comes_back(run_program):
    finished = run_program("""
ray.init(num_cpus=1)

class Pair:
    def __init__(self, a, b):
        self.a, self.b = a, b

class PairError(Exception):
    pass

@ray.remote
def swap(pair):
    assert isinstance(pair, Pair)
    return Pair(pair.b, pair.a)

@ray.remote
def fail():
    raise PairError("of main")

swapped = ray.get(swap.remote(Pair(1, 2)))
print("pair", type(swapped) is Pair, swapped.a, swapped.b)
try:
    ray.get(fail.remote())
except PairError as error:
    print("caught", "of main" in str(error))
""")
    assert "pair True 2 1" in finished.stdout
    assert "caught True" in finished.stdout


def test_main_is_not_run_again_in_workers(run_program, runs):
    finished = run_program(f"""
open({runs._path!r}, "a").write("imported\\n")
ray.init(num_cpus=2)

@ray.remote
def name():
    return __name__

print("name", ray.get(name.remote()))
""")
    assert "name __main__" in finished.stdout
    assert runs.lines() == ["imported"]


def test_module_beside_the_script_is_importable_in_workers(run_program, tmp_path):
    (tmp_path / "neighbour_of_script.py").write_text("def greet():\n    return 'hello from the neighbour'\n")
    finished = run_program("""
import neighbour_of_script
ray.init(num_cpus=1)
print(ray.get(ray.remote(neighbour_of_script.greet).remote()))
print(ray.get(ray.remote(lambda: neighbour_of_script.greet().upper()).remote()))
""")
    assert "hello from the neighbour" in finished.stdout
    assert "HELLO FROM THE NEIGHBOUR" in finished.stdout


def test_functions_remote_functions_call_in_turn_are_found(ray):
    def square(x):
        return x * x

    @ray.remote
    def sum_of_squares(a, b):
        return square(a) + square(b)

    assert ray.get(sum_of_squares.remote(3, 4)) == 25


def test_decorated_helper_of_a_task_may_be_called_from_it(ray):
    @ray.remote
    def helper(x):
        return x + 1

    @ray.remote
    def task(x):
        return ray.get(helper.remote(x)) * 10

    assert ray.get(task.remote(1)) == 20


def test_generator_and_comprehension_inside_a_task_work(ray):
    @ray.remote
    def task(n):
        return sum(x for x in (y * 2 for y in range(n)))

    assert ray.get(task.remote(10)) == 90


def test_function_that_closes_over_a_big_value_works(ray):
    big = bytes(5_000_000)

    @ray.remote
    def size():
        return len(big)

    assert ray.get([size.remote() for _ in range(3)]) == [5_000_000] * 3


def test_function_that_closes_over_a_ref_works(ray):
    ref = ray.put("captured")

    @ray.remote
    def read():
        return ray.get(ref)

    assert ray.get(read.remote()) == "captured"


def test_function_that_closes_over_an_unpicklable_value_is_a_type_error_from_remote(ray):
    lock = threading.Lock()

    @ray.remote
    def locked():
        with lock:
            return 1

    with pytest.raises(TypeError, match="Could not serialize the function"):
        locked.remote()


def test_functools_wraps_decorator_below_remote_works(ray):
    import functools

    def shout(function):
        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            return function(*args, **kwargs).upper()

        return wrapper

    @ray.remote
    @shout
    def greet(name):
        return f"hello {name}"

    assert ray.get(greet.remote("ray")) == "HELLO RAY"
    with pytest.raises(TypeError):
        greet.remote()


def test_hundreds_of_different_functions_work(ray):
    refs = [ray.remote(lambda i=i: i).remote() for i in range(300)]
    assert ray.get(refs) == list(range(300))


def test_same_function_remote_twice_works(ray):
    first, second = ray.remote(double), ray.remote(num_cpus=1)(double)
    assert ray.get([first.remote(1), second.remote(2)]) == [2, 4]


def test_static_variable_of_a_function_is_not_sent_back(ray):
    def count():
        count.calls = getattr(count, "calls", 0) + 1
        return count.calls

    ray.get(ray.remote(count).remote())
    assert not hasattr(count, "calls")


def test_environment_set_before_init_is_seen_in_tasks(run_program):
    finished = run_program("""
import os
os.environ["CONFORMANCE_WORD"] = "inherited"
ray.init(num_cpus=1)
print(ray.get(ray.remote(lambda: os.environ["CONFORMANCE_WORD"]).remote()))
""")
    assert "inherited" in finished.stdout


def test_omp_num_threads_is_the_number_of_cpus_of_the_task(run_program):
    finished = run_program("""
import os
os.environ.pop("OMP_NUM_THREADS", None)
ray.init(num_cpus=2)
read = ray.remote(lambda: os.environ.get("OMP_NUM_THREADS"))
print("two", ray.get(read.options(num_cpus=2).remote()))
print("one", ray.get(read.remote()))
print("half", ray.get(read.options(num_cpus=0.5).remote()))
""")
    assert "two 2" in finished.stdout
    assert "one 1" in finished.stdout
    assert "half 1" in finished.stdout


def test_working_directory_of_tasks_is_that_of_the_driver(run_program, tmp_path):
    finished = run_program("""
import os
ray.init(num_cpus=1)
print("same", ray.get(ray.remote(lambda: os.getcwd()).remote()) == os.getcwd())
""")
    assert "same True" in finished.stdout


def test_tasks_run_in_other_processes_than_the_driver(ray):
    import os

    pids = set(ray.get([ray.remote(lambda: os.getpid()).remote() for _ in range(10)]))
    assert os.getpid() not in pids
