"""Sessions: import, start, end, each in a fresh process; and workers that are killed."""

from collections.abc import Callable

from benchmarks.cases.case import Case, Sample, shorter
from benchmarks.engines import Engine
from benchmarks.engines.base import run_program, timed

_LEAST_IMPORT_MS = 0.1  # what is shorter cannot be told from nothing

_PROGRAM = """\
import time
from operator import abs as abs_of
{imports}
started = time.perf_counter()
{starts}
first = time.perf_counter()
{ends}
print(first - started, time.perf_counter() - first)
"""


def _session(which: int) -> Sample:
    def measure(engine: Engine) -> float:
        if not engine.starts:
            raise NotImplementedError
        program = _PROGRAM.format(imports=engine.imports, starts=engine.starts, ends=engine.ends)
        return float(run_program(program).split()[which]) * 1e3

    return measure


def import_time(engine: Engine) -> float:
    """Milliseconds that importing takes beyond an empty program."""
    if not engine.imports:
        raise NotImplementedError
    pairs = [
        (timed(lambda: run_program("pass")), timed(lambda: run_program(engine.imports)))
        for _ in range(max(1, 3 // engine.shrink))
    ]
    return max(_LEAST_IMPORT_MS, min(after for _, after in pairs) * 1e3 - min(before for before, _ in pairs) * 1e3)


def crash(*, tries_again: bool) -> Callable[[Engine], float]:
    """Milliseconds from SIGKILL of a busy worker of 100 MB to the error, or to the result of the second try."""
    return lambda engine: engine.crash(tries_again) * 1e3


CASES: list[Case] = [
    shorter("import", "import, beyond Python's own start", "ms", import_time),
    shorter("start_up", "start of two workers to the first result", "ms", _session(0)),
    shorter("shutdown", "end of the session", "ms", _session(1)),
    shorter("crash_error", "SIGKILL of a worker of 100 MB to the error", "ms", crash(tries_again=False)),
    shorter("crash_retry", "SIGKILL of a worker of 100 MB to the retried result", "ms", crash(tries_again=True)),
]
