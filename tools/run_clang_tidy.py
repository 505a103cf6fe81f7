"""Runs clang-tidy over our sources in a build folder; a file whose inputs did not change is not read again."""

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# GCC options that clang does not know, or that change what it may parse.
DROP = ("-Wshadow=", "-Werror", "-fno-fat-lto-objects", "-flto")


def our_commands(build: Path, work: Path) -> list[dict[str, str]]:
    """Returns the compile commands of our own files, written to a database that clang can read."""
    ours = (ROOT / "cpp", ROOT / "tests" / "cpp")
    commands = []
    for entry in json.loads((build / "compile_commands.json").read_text()):
        if any(Path(entry["file"]).is_relative_to(folder) for folder in ours):
            entry["command"] = " ".join(word for word in entry["command"].split() if not word.startswith(DROP))
            commands.append(entry)
    (work / "compile_commands.json").write_text(json.dumps(commands))
    return commands


def inputs_digest(tool: str) -> str:
    """Returns a digest of everything that the outcome depends on besides the file and its command."""
    digest = hashlib.sha256(subprocess.run([tool, "--version"], capture_output=True, check=True).stdout)
    headers = [*(ROOT / "cpp").rglob("*.hpp"), *(ROOT / "tests" / "cpp").rglob("*.hpp")]
    for path in [ROOT / ".clang-tidy", *sorted(headers)]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=Path, required=True, help="a build folder with compile_commands.json")
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    tool = shutil.which("clang-tidy")
    if tool is None:
        print("clang-tidy is not installed: pip install --group lint", file=sys.stderr)
        return 2
    work = arguments.build / "clang-tidy"
    work.mkdir(exist_ok=True)
    common = inputs_digest(tool)

    def check(entry: dict[str, str]) -> tuple[str, str]:
        source = Path(entry["file"])
        key = hashlib.sha256(f"{common}{entry['command']}{source.read_text()}".encode()).hexdigest()
        passed = work / f"{source.stem}-{key[:24]}.passed"
        if passed.exists():
            return entry["file"], ""
        result = subprocess.run(
            [tool, "--quiet", "-p", str(work), str(source)], capture_output=True, text=True, check=False
        )
        if result.returncode == 0:
            passed.touch()
            return entry["file"], ""
        return entry["file"], result.stdout + result.stderr

    failures = 0
    commands = our_commands(arguments.build, work)
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for file, output in pool.map(check, commands):
            if output:
                failures += 1
                print(f"{Path(file).relative_to(ROOT)}:\n{output}")
    print(f"clang-tidy: {len(commands)} files, {failures} with findings")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
