"""The process of one engine: reads names of cases, one a line, and answers each with one sample as JSON.

Between two lines it is blocked, so that engines are measured one at a time. It ends when its input does.
"""

import json
import os
import sys

from benchmarks.cases import CASES
from benchmarks.crashes import NO_ANSWER_SECONDS, NoAnswerError
from benchmarks.engines import ENGINES


def main(engine_name: str, workers: int) -> None:
    # Whatever the engine prints must not end up among the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    engine = ENGINES[engine_name]()
    gap = engine.gap()
    if gap is None:
        engine.start(workers)
    answers.write(json.dumps({"gap": gap}) + "\n")
    for line in sys.stdin:
        try:
            answer = {"sample": CASES[line.strip()].sample(engine)}
        except NotImplementedError:
            answer = {"gap": "not offered"}
        except NoAnswerError:
            answer = {"gap": f"{line.strip()}: no answer within {NO_ANSWER_SECONDS:g} s"}
        answers.write(json.dumps(answer) + "\n")
    if gap is None:
        engine.stop()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
