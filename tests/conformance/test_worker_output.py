"""What tasks print reaches the driver as `(name pid=N) text`."""

import pytest


@pytest.fixture(scope="module")
def printed(start_module_program):
    """Give the finished program whose tasks print in every way the tests below look for."""
    program = start_module_program("""
import os, sys
ray.init(num_cpus=1)

@ray.remote
def speak(word):
    print("said", word)
    return os.getpid()

@ray.remote
def complain():
    print("to standard error", file=sys.stderr)

@ray.remote
def several_lines():
    print("first line\\nsecond line")

@ray.remote
def without_newline():
    sys.stdout.write("no newline here")
    sys.stdout.flush()

@ray.remote
def through_the_system():
    os.system("echo from a child process")

@ray.remote
def unicode_text():
    print("gr\\u00fc\\u00dfe \\u2713")

pid = ray.get(speak.remote("hello"))
sys.stdout.write(f"worker pid {pid}\\n")  # in one piece: worker output may come in between two
ray.get(speak.options(name="given name").remote("named"))
ray.get(ray.remote(lambda: print("from a lambda")).remote())
for task in (complain, several_lines, without_newline, through_the_system, unicode_text):
    ray.get(task.remote())
sys.stdout.write("driver line\\n")
ray.get(speak.remote("goodbye"))
sys.stdin.read()
""")
    program.expect("said goodbye")
    program.expect("to standard error", "stderr")
    finished = program.finish()
    assert finished.returncode == 0, finished.stderr
    return finished


def holds_line(text, pattern):
    import re

    return re.search(f"^{pattern}$", text, re.MULTILINE) is not None


def test_line_of_a_task_carries_its_name_and_pid(printed):
    import re

    pid = re.search(r"worker pid (\d+)", printed.stdout).group(1)
    assert holds_line(printed.stdout, rf"\(speak pid={pid}\) said hello")


def test_name_option_of_a_task_does_not_change_the_prefix_into_something_else(printed):
    assert holds_line(printed.stdout, r"\((given name|speak) pid=\d+\) said named")


def test_lambda_is_named_as_python_does(printed):
    assert holds_line(printed.stdout, r"\(<lambda> pid=\d+\) from a lambda")


def test_standard_error_of_a_task_goes_to_standard_error(printed):
    assert holds_line(printed.stderr, r"\(complain pid=\d+\) to standard error")
    assert "to standard error" not in printed.stdout


def test_each_line_is_prefixed(printed):
    assert holds_line(printed.stdout, r"\(several_lines pid=\d+\) first line")
    assert holds_line(printed.stdout, r"\(several_lines pid=\d+\) second line")


def test_line_without_newline_arrives(printed):
    assert "no newline here" in printed.stdout


def test_output_of_a_child_process_arrives(printed):
    assert "from a child process" in printed.stdout


def test_unicode_arrives_whole(printed):
    assert holds_line(printed.stdout, r"\(unicode_text pid=\d+\) grüße ✓")


def test_lines_of_the_driver_have_no_prefix(printed):
    assert holds_line(printed.stdout, "driver line")


def test_log_to_driver_false_keeps_the_output_of_tasks_away(run_program):
    finished = run_program("""
ray.init(num_cpus=1, log_to_driver=False)
print("result", ray.get(ray.remote(lambda: print("hidden line") or 5).remote()))
""")
    assert "result 5" in finished.stdout
    assert "hidden line" not in finished.stdout + finished.stderr


def test_first_program_of_the_readme_prints_its_result_and_the_workers_line(start_program):
    program = start_program("""
import sys
ray.init(num_cpus=1)

@ray.remote
def add(a, b):
    print(f"computing {a} + {b}")
    return a + b

ref = add.remote(3, 5)
sys.stdin.readline()
print(f"Result: {ray.get(ref)}")
ray.shutdown()
""")
    program.expect(r"^\(add pid=\d+\) computing 3 \+ 5$")
    finished = program.finish()
    assert finished.returncode == 0
    assert "Result: 8" in finished.stdout
