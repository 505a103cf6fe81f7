"""Jobs end to end, as programs have them: numeric, text, table, and a loop of small actor calls."""

import random
from collections import Counter
from typing import Any

from benchmarks.cases.case import Case, microseconds, milliseconds, shorter
from benchmarks.engines import Engine

_BLOCKS = 4  # of a matrix, each way
_BLOCK_ROWS = 256
_TEXTS, _WORDS_EACH, _DIFFERENT_WORDS = 40, 10_000, 2000
_TABLES, _ROWS_EACH, _KEYS = 8, 200_000, 1000
_ENVIRONMENTS, _STATE = 4, 64


def multiply(*blocks: Any) -> Any:
    """Return one block of a product, of a row of blocks and a column of blocks."""
    half = len(blocks) // 2
    return sum(left @ right for left, right in zip(blocks[:half], blocks[half:], strict=True))


def matrix_product(engine: Engine) -> float:
    """Milliseconds of a product of two matrices of 1,024 by 1,024, in blocks."""
    import numpy

    rows = max(8, _BLOCK_ROWS // engine.shrink)
    data, places = numpy.random.default_rng(0).random((_BLOCKS, _BLOCKS, rows, rows)), range(_BLOCKS)
    submit = engine.submitter(multiply)

    def one() -> None:
        shared = [[engine.share(data[i, j]) for j in places] for i in places]
        engine.gather([submit(*shared[i], *(shared[k][j] for k in places)) for i in places for j in places])

    return milliseconds(engine, one)


def count_words(text: str) -> Any:
    """Return how often each word of a text occurs."""
    return Counter(text.split())


def word_count(engine: Engine) -> float:
    """Milliseconds of counting the words of 40 texts of 10,000, and adding up."""
    pick = random.Random(0)
    words = [f"word{i}" for i in range(_DIFFERENT_WORDS)]
    texts = [" ".join(pick.choices(words, k=engine.count(_WORDS_EACH))) for _ in range(_TEXTS)]
    submit = engine.submitter(count_words)

    def one() -> None:
        total: Counter[str] = Counter()
        for part in engine.gather([submit(text) for text in texts]):
            total.update(part)

    return milliseconds(engine, one)


def sums_by_key(table: Any) -> Any:
    """Return the sum of each key of an Arrow table, as pandas has it."""
    return table.group_by("key").aggregate([("value", "sum")]).to_pandas()


def group_by(engine: Engine) -> float:
    """Milliseconds of a group-by over eight Arrow tables of 200,000 rows, the parts combined by pandas."""
    import numpy
    import pandas
    import pyarrow

    pick, rows = numpy.random.default_rng(0), engine.count(_ROWS_EACH)
    tables = [pyarrow.table({"key": pick.integers(0, _KEYS, rows), "value": pick.random(rows)}) for _ in range(_TABLES)]
    submit = engine.submitter(sums_by_key)

    def one() -> None:
        parts = engine.gather([submit(engine.share(table)) for table in tables])
        pandas.concat(parts).groupby("key")["value_sum"].sum()

    return milliseconds(engine, one)


class Environment:
    """A world that an agent acts in: state and reward of each step."""

    def __init__(self, seed: int) -> None:
        import numpy

        self._state = numpy.random.default_rng(seed).random(_STATE)

    def step(self, action: float) -> Any:
        self._state = self._state * 0.9 + action
        return self._state, float(self._state[0])


def agent_loop(engine: Engine) -> float:
    """Microseconds of a step of four environments: actions, one call of each, states and rewards, policy."""
    import numpy

    if "environments" not in engine.__dict__:
        engine.__dict__["environments"] = [engine.new_actor(Environment, i) for i in range(_ENVIRONMENTS)]
    steps = [engine.caller(actor, "step") for actor in engine.__dict__["environments"]]
    policy = numpy.ones(_STATE) / _STATE
    actions = [0.0] * _ENVIRONMENTS

    def one() -> None:
        answers = engine.gather([step(action) for step, action in zip(steps, actions, strict=True)])
        actions[:] = [float(policy @ state) for state, _ in answers]

    return microseconds(engine, one)


CASES: list[Case] = [
    shorter("job_matrix", "job: product of matrices of 1,024 rows, in blocks", "ms", matrix_product),
    shorter("job_text", "job: words of 40 texts counted", "ms", word_count),
    shorter("job_group_by", "job: group-by of 1,600,000 rows, Arrow and pandas", "ms", group_by),
    shorter("job_agent", "job: a step of four environments and a policy", "us", agent_loop),
]
