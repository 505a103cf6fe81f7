"""What a task wrote and did not flush is written when it ends, whatever it wrote to; a task that wrote nothing flushes nothing."""

import subprocess
import sys

import pytest

PROGRAM = """
import os, sys
import miniray as ray

@ray.remote
def write(how):
    if how == "text":
        print("kept back", end="")
    elif how == "bytes":
        sys.stdout.buffer.write(b"kept back")
    else:
        sys.stdout = open(os.dup(1), "w")
        sys.stdout.write("kept back")

@ray.remote
def complete_line():
    os.write(1, b", completed\\n")

ray.init(num_cpus=1)
ray.get(complete_line.remote())  # the first task has everything flushed
ray.get(write.remote(sys.argv[1]))
ray.get(complete_line.remote())
"""


@pytest.mark.parametrize("how", ["text", "bytes", "a stream of its own"])
def test_it_is_written_when_the_task_ends(how):
    done = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True)
    assert "kept back, completed" in done.stdout
