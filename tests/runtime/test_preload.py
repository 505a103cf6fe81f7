"""init(preload=[...]): the process that forks workers has imported the modules; what cannot be imported is told."""

import pytest

from miniray._runtime.preload import checked_preload

PROGRAM = """
sys.path.insert(0, folder)
ray.init(num_cpus=2, preload={names!r}, object_store_memory=16 << 20)
def look(i):
    import sys
    loaded = sys.modules.get("preloaded")
    return loaded and (loaded.PID, loaded.THREADS), os.getpid(), os.environ.get("OMP_NUM_THREADS")
found = ray.get([ray.remote(look).remote(i) for i in range(20)])
supervisor, = (pid for pid, kind, _, _ in core._processes() if kind == 2)
assert "preloaded" not in sys.modules
"""


@pytest.fixture
def run(start_program, tmp_path):
    def run(names, check, **modules):
        for name, source in modules.items():
            (tmp_path / f"{name}.py").write_text(source)
        program = start_program(f"folder = {str(tmp_path)!r}\n" + PROGRAM.format(names=names) + check)
        code, out, err = program.finish()
        assert code == 0, err
        program.expect_nothing_left()
        return out, err

    return run


PRELOADED = "import os\nPID = os.getpid()\nTHREADS = os.environ.get('OMP_NUM_THREADS')\n"


def test_workers_find_the_module_imported_once(run):
    check = "assert {each[0] for each in found} == {(supervisor, '1')}, found\nassert {each[2] for each in found} == {'1'}\n"
    assert run(["preloaded"], check, preloaded=PRELOADED) == ("", "")


def test_workers_of_a_killed_supervisors_successor_find_it_too(run):
    check = """
os.kill(supervisor, 9)
while {each[0] for each in found} == {(supervisor, "1")}:
    for pid in {each[1] for each in found}:  # what the old one has forked
        try: os.kill(pid, 9)
        except ProcessLookupError: pass
    found = ray.get([ray.remote(look).remote(i) for i in range(20)])
successor, = (pid for pid, kind, _, _ in core._processes() if kind == 2)
assert {each[0] for each in found} <= {(supervisor, "1"), (successor, "1")}, found
"""
    run(["preloaded"], check, preloaded=PRELOADED)


def test_module_that_cannot_be_imported_is_told_and_costs_no_more(run):
    check = "assert all(each[0][0] == supervisor for each in found), found\n"
    _, err = run(["broken", "preloaded"], check, broken="raise OSError('no such thing')", preloaded=PRELOADED)
    assert "cannot preload broken: OSError: no such thing; workers that need it import it themselves" in err


def test_module_that_starts_threads_is_told(run):
    source = PRELOADED + "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    _, err = run(["preloaded"], "assert all(each[0][0] == supervisor for each in found)\n", preloaded=source)
    assert "preload=['preloaded'] has started threads, which workers will not have" in err


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ("numpy", TypeError, "a list of names of modules, such as .*, got 'numpy'"),
        ([1], TypeError, r"got \[1\]"),
        (["__main__"], ValueError, "not '__main__'"),
        (["a b"], ValueError, "not 'a b'"),
        ([""], ValueError, "not ''"),
        (["json", "no_such.thing"], ValueError, "preload names 'no_such.thing', but there is no module 'no_such' here"),
    ],
)
def test_what_cannot_be_preloaded_is_told_by_init(given, error, message):
    with pytest.raises(error, match=message):
        checked_preload(given)


def test_nothing_is_preloaded_unless_asked():
    assert checked_preload(None) == ()
    assert checked_preload(["json", "os.path"]) == ("json", "os.path")
