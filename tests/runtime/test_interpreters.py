"""Subinterpreters, and asyncio programs."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time

import pytest

IN_A_SUBINTERPRETER = """
import importlib
try: interpreters = importlib.import_module("_interpreters")
except ImportError: interpreters = importlib.import_module("_xxsubinterpreters")
import miniray as ray
code = '''
try: import miniray
except ImportError as error: print("refused:", error, flush=True)
else: print("imported", flush=True)
'''
with ray.init(num_cpus=1, object_store_memory=8 << 20):
    value = ray.put([1, 2])
    inner = interpreters.create()
    problem = interpreters.run_string(inner, code)
    assert problem is None, problem
    interpreters.destroy(inner)
    print(ray.get(value), ray.get(ray.remote(lambda: 7).remote()))
"""


def test_subinterpreter_is_refused_and_the_session_goes_on():
    done = subprocess.run([sys.executable, "-c", IN_A_SUBINTERPRETER], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    refused, lives = done.stdout.splitlines()
    assert refused.startswith("refused: ")
    assert "subinterpreter" in refused
    assert lives == "[1, 2] 7"


def test_calls_work_in_threads_of_an_event_loop(ray):
    async def main():
        refs = [ray.remote(lambda i: i * i).remote(i) for i in range(20)]
        found = await asyncio.gather(*(asyncio.to_thread(ray.get, ref) for ref in refs))
        assert ray.get(refs) == found
        return found

    assert asyncio.run(main()) == [i * i for i in range(20)]


def test_loop_that_ends_while_a_call_waits_leaves_all_whole(ray, tmp_path):
    gate = tmp_path / "gate"
    ended = threading.Event()

    @ray.remote
    def wait_for_gate():
        while not gate.exists():
            time.sleep(0.001)
        return "done"

    ref = wait_for_gate.remote()

    def get():
        try:
            return ray.get(ref)
        finally:
            ended.set()

    async def give_up():
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.get_running_loop().run_in_executor(None, get), 0.05)
        gate.touch()  # the loop's end waits for its threads

    asyncio.run(give_up())
    assert ended.is_set()
    assert ray.get(ref) == "done"


def test_loop_that_is_stopped_in_an_await_leaves_the_ref_alone(ray, tmp_path):
    gate = tmp_path / "gate"

    @ray.remote
    def wait_for_gate():
        while not gate.exists():
            time.sleep(0.001)
        return "done"

    ref = wait_for_gate.remote()
    loop = asyncio.new_event_loop()
    waiting = loop.create_task(asyncio.wait([asyncio.ensure_future(ref, loop=loop)]))
    loop.call_soon(loop.stop)
    loop.run_forever()
    waiting.cancel()
    loop.run_until_complete(asyncio.gather(waiting, return_exceptions=True))
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    loop.close()
    gate.touch()
    assert ray.get(ref) == "done"
    assert ref.future().result() == "done"
