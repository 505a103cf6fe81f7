"""The same line of several workers is printed once, and then a number."""

from __future__ import annotations

PROGRAM = """
import select, sys
ray.init(num_cpus=3, include_dashboard=False)

@ray.remote(num_cpus=0)
class Speaker:
    def speak(self, text):
        print(text)

speakers = [Speaker.remote() for _ in range(4)]
ray.get([each.speak.remote(f"said {i} of them") for i, each in enumerate(speakers)])
while not select.select([sys.stdin], [], [], 0.1)[0]:
    ray.get(speakers[0].speak.remote("still here"))
"""


def test_same_line_of_several_workers_is_printed_once_with_a_count(start_program, monkeypatch):
    monkeypatch.setenv("RAY_DEDUP_LOGS_AGG_WINDOW_S", "1")
    program = start_program(PROGRAM)
    program.expect(r"pid=\d+\)\S* said \d of them$")
    program.expect(r"pid=\d+\)\S* said \d of them.*\[repeated 3x across cluster\]")
    finished = program.finish()
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.count("of them") == 2


def test_all_lines_are_printed_when_nobody_wants_numbers(start_program, monkeypatch):
    monkeypatch.setenv("RAY_DEDUP_LOGS", "0")
    program = start_program(PROGRAM)
    assert {program.expect(r"said (\d) of them")[1] for _ in range(4)} == set("0123")
    finished = program.finish()
    assert "repeated" not in finished.stdout
