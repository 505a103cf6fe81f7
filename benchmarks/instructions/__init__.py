"""Instructions of what every task is made of, Python's included: ``python -m benchmarks.instructions``.

Times differ from machine to machine and run to run, instructions hardly: ``budgets.json`` has what each operation
may take on one kind of Python and processor, and tests/benchmarks compares: submit; lease, execution and completion
as one; get; put. What the core alone takes of each is in tests/cpp/single_step/budget.cpp.
"""

import json
import platform
import sys
from pathlib import Path

_BUDGETS = Path(__file__).with_name("budgets.json")
TOLERANCE = 0.05


def machine_key() -> str:
    """Return the kind of Python and processor that budgets are written for, as ``cpython-3.11-x86_64``."""
    version = ".".join(map(str, sys.version_info[:2]))
    return f"{sys.implementation.name}-{version}-{platform.machine()}"


def budgets() -> dict[str, int]:
    """Return the budgets of this kind of Python and processor; empty when there are none."""
    return json.loads(_BUDGETS.read_text()).get(machine_key(), {})


def off_budget(found: dict[str, int], allowed: dict[str, int]) -> list[str]:
    """Return a line for each operation that is more than 5% off its budget. A smaller figure is a new budget."""
    return [
        f"{name}: {found[name]:,} instructions, its budget is {allowed[name]:,}"
        for name in allowed
        if abs(found[name] / allowed[name] - 1) > TOLERANCE
    ]
