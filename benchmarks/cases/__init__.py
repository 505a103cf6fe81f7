"""What is measured: each case takes one sample of one engine, in the engine's process. By subject, in table order."""

from benchmarks.cases import actors, jobs, lifecycle, memory, objects, tasks
from benchmarks.cases.case import Case

SUBJECTS: dict[str, list[Case]] = {
    "Tasks": tasks.CASES,
    "Objects": objects.CASES,
    "Actors and streams": actors.CASES,
    "Jobs": jobs.CASES,
    "Memory": memory.CASES,
    "Sessions and crashes": lifecycle.CASES,
}
CASES: dict[str, Case] = {case.name: case for cases in SUBJECTS.values() for case in cases}
