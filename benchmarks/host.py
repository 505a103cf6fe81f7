"""The process of one engine: reads names of cases, one a line, and answers each with one sample as JSON.

Between two lines it is blocked, so that engines are measured one at a time. It ends when its input does.
"""

import json
import os
import sys
import traceback

from benchmarks.catalog import find
from benchmarks.crashes import NO_ANSWER_SECONDS, NoAnswerError
from benchmarks.engines import ENGINES, Engine

_QUICK_SECONDS, _QUICK_SHRINK = 0.002, 200


def _sample(engine: Engine, name: str) -> dict[str, float | str | bool]:
    case = find(name)
    if case is None:
        return {"gap": "no such case"}
    try:
        return {"sample": case.sample(engine)}
    except NotImplementedError as error:
        return {"gap": str(error) or "not offered"}
    except NoAnswerError:
        return {"gap": f"no answer within {NO_ANSWER_SECONDS:g} s"}
    except ModuleNotFoundError as error:
        return {"gap": f"{error.name} is not installed"}
    except Exception as error:  # whatever an engine raises: a gap, and the run goes on with a new process
        text = (str(error).strip().splitlines() or [""])[0]
        traceback.print_exc()
        return {"gap": f"{type(error).__name__}: {text[:200]}", "is_broken": True}


def main(engine_name: str, workers: int, is_quick: bool) -> None:
    # Whatever the engine prints must not end up among the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    engine = ENGINES[engine_name]()
    gap = engine.gap()
    if is_quick:
        engine.seconds, engine.shrink = _QUICK_SECONDS, _QUICK_SHRINK
    if gap is None:
        engine.start(workers)
    answers.write(json.dumps({"gap": gap, "version": None if gap else engine.version()}) + "\n")
    sampled: set[str] = set()
    for line in sys.stdin:
        name = line.strip()
        engine.is_warm = name in sampled
        sampled.add(name)
        answers.write(json.dumps(_sample(engine, name)) + "\n")
    if gap is None:
        engine.stop()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:] == ["quick"])
