"""Prints the instructions of each operation beside its budget; exit status 1 when one is off."""

import sys

import miniray
from benchmarks.instructions import budgets, machine_key, off_budget
from benchmarks.instructions.operations import count_all

found, allowed = count_all(miniray), budgets()
for name, count in found.items():
    print(f"{name:8} {count:7,}  budget {allowed.get(name, 'none')}")
print(machine_key())
sys.exit(1 if off_budget(found, allowed) else 0)
