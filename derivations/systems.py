"""The systems that the sources describe, S1 to S80: where each lives, and the test that proves it.

`systems.toml` has one entry for each: `name`, the `sources` that describe it, the `module` that it lives in, the `test`
that proves it (one, or several that do so together), and a `mutant` of its mathematics: a text that stands once in the
module, and the text that replaces it. `network` is the folder of conformance/networks that holds one, `example` a file
that shows it, where there is such.

`python -m derivations.systems [S12 ...]` shows that the map is true: in a copy of the checkout, each test passes; and
it fails where the module is mutated.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

from derivations.ledger import KEYS

ROOT = Path(__file__).parent.parent
NUMBERS = tuple(f"S{n}" for n in range(1, 81))
TIMEOUT = 300  # seconds for the tests of one system; they take some
PASSED, FAILED = 0, 1  # exit status of pytest; any other means that no test has failed


@dataclass(frozen=True)
class System:
    """One entry of the map; the fields are those of the file."""

    number: str
    name: str
    sources: tuple[str, ...]
    module: str
    test: tuple[str, ...]
    mutant: tuple[str, str]
    network: str = ""
    example: str = ""


def systems(text: str | None = None) -> dict[str, System]:
    """The map, or what is written in `text`. ValueError, with one sentence, where an entry is not as above."""
    text = (ROOT / "derivations" / "systems.toml").read_text(encoding="utf-8") if text is None else text
    found = {number: _system(number, entry) for number, entry in tomllib.loads(text).items()}
    if list(found) != sorted(found, key=NUMBERS.index):
        raise ValueError(f"systems.toml has its entries in the order {', '.join(found)}, expected that of the numbers")
    return found


def _system(number: str, entry: Mapping[str, Any]) -> System:
    if number not in NUMBERS:
        raise ValueError(f"systems.toml has an entry {number!r}, expected S1 to S80")
    known = {f.name: f.default is MISSING for f in fields(System) if f.name != "number"}
    if unknown := [key for key in entry if key not in known]:
        raise ValueError(f"{number} has the field {unknown[0]!r}, expected {', '.join(known)}")
    if missing := [key for key, required in known.items() if required and not entry.get(key)]:
        raise ValueError(f"{number} has no {missing[0]}")
    made: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
    made["test"] = (made["test"],) if isinstance(made["test"], str) else made["test"]
    for key in ("sources", "test", "mutant"):
        if not isinstance(made[key], tuple) or not all(isinstance(text, str) for text in made[key]):
            raise ValueError(f"{number} has the {key} {entry[key]!r}, expected a list of texts")
    for key in ("name", "module", "network", "example"):
        if not isinstance(made.get(key, ""), str):
            raise ValueError(f"{number} has the {key} {entry[key]!r}, expected a text")
    if wrong := [key for key in made["sources"] if key not in KEYS]:
        raise ValueError(f"{number} has the source {wrong[0]!r}, expected some of {', '.join(KEYS)}")
    if len(made["mutant"]) != 2:
        raise ValueError(f"{number} has a mutant of {len(made['mutant'])} texts, expected the old and the new one")
    return System(number, **made)


def mutated(system: System, root: Path = ROOT) -> str:
    """The module of a system with its mutant in it. ValueError, with one sentence, where that is no other program."""
    text = (root / system.module).read_text(encoding="utf-8")
    old, new = system.mutant
    if text.count(old) != 1:
        raise ValueError(f"{system.number}: {old!r} stands {text.count(old)} times in {system.module}, expected once")
    changed = text.replace(old, new)
    try:
        if ast.dump(ast.parse(changed)) == ast.dump(ast.parse(text)):
            raise ValueError(f"{system.number}: {new!r} in {system.module} changes no statement")
    except SyntaxError as error:
        raise ValueError(f"{system.number}: {system.module} is no Python with {new!r} in it: {error.msg}") from None
    return changed


# Imports what most tests import, once, and then makes a process of itself for each list of arguments of pytest, and
# answers its exit status and the last line that it printed. Nothing of the checkout is imported here, so that each
# process finds its modules as they are by then.
SERVER = """
import json, os, signal, sys, tempfile
import flint, hypothesis, mpmath, numpy, pytest, sympy, torch
sys.path.insert(0, os.getcwd())
for line in sys.stdin:
    seconds, arguments = json.loads(line)
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        if (child := os.fork()) == 0:
            signal.setitimer(signal.ITIMER_REAL, seconds)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            for stream in (1, 2):
                os.dup2(output.fileno(), stream)
            status = pytest.main(arguments)
            sys.stdout.flush()
            os._exit(status)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        output.seek(0)
        print(json.dumps([code, (output.read().strip().splitlines() or ["no output"])[-1]]), flush=True)
"""
# hypothesis is imported before pytest could rewrite its assertions: pytest warns of it, and a warning is an error here.
ARGUMENTS = (
    *("-q", "-x", "-p", "no:xdist", "-o", "addopts=", "--strict-markers"),
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),
)


@dataclass(frozen=True)
class Copy:
    """A copy of a checkout, and the process that runs tests there."""

    root: Path
    server: subprocess.Popen[str]


def run(tests: Sequence[str], copy: Copy) -> tuple[int, str]:
    """pytest's exit status for these tests, in a copy and in a process of their own, and the last line that it printed;
    -SIGALRM where they took too long, and that of another signal which ended it."""
    assert copy.server.stdin and copy.server.stdout
    copy.server.stdin.write(json.dumps([TIMEOUT, [*ARGUMENTS, *tests]]) + "\n")
    copy.server.stdin.flush()
    if not (ended := copy.server.stdout.readline()):
        raise RuntimeError(f"the process that runs tests in {copy.root} ended with {copy.server.wait()}")
    code, line = json.loads(ended)
    return code, line


def unproved(system: System, copy: Copy) -> str:
    """Why the tests of a system do not prove it; empty if they do."""
    passes, line = run(system.test, copy)
    if passes != PASSED:
        return f"{' '.join(system.test)} does not pass ({_ended(passes)}: {line})"
    module = copy.root / system.module
    text = module.read_text(encoding="utf-8")
    try:
        changed = mutated(system, copy.root)
    except ValueError as error:
        return str(error)
    try:
        _write(module, changed)
        ended, _ = run(system.test, copy)
    finally:
        _write(module, text)
    return "" if ended == FAILED else f"{' '.join(system.test)} does not notice {system.mutant[1]!r} ({_ended(ended)})"


def _ended(code: int) -> str:
    return f"it took more than {TIMEOUT} s" if code == -signal.SIGALRM else f"pytest ended with {code}"


def _write(module: Path, text: str) -> None:
    """Write a module, and forget what was compiled of it: bytecode knows its source by a time in whole seconds."""
    module.write_text(text, encoding="utf-8")
    Path(importlib.util.cache_from_source(str(module))).unlink(missing_ok=True)


@contextmanager
def _copies(root: Path, count: int) -> Iterator[queue.Queue[Copy]]:
    """So many copies of a checkout, as far as git would look at it, to take and to put back."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        check=True,
    )
    files = [name for name in listed.stdout.decode().split("\0") if name and (root / name).is_file()]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as servers:
        copies: queue.Queue[Copy] = queue.Queue()
        for n in range(count):
            copied = Path(folder, str(n))
            for name in files:
                (copied / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(root / name, copied / name)
            server = subprocess.Popen(
                [sys.executable, "-c", SERVER],
                cwd=copied,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            copies.put(Copy(copied, servers.enter_context(server)))
        yield copies


def prove(chosen: Sequence[System], root: Path = ROOT) -> Iterator[tuple[System, str]]:
    """Each of these systems and why it is not proved, in their order; an empty sentence where it is."""
    workers = min(os.cpu_count() or 1, len(chosen))
    with _copies(root, workers) as copies, ThreadPoolExecutor(workers) as pool:

        def sentence(system: System) -> str:
            copy = copies.get()
            try:
                return unproved(system, copy)
            finally:
                copies.put(copy)

        yield from zip(chosen, pool.map(sentence, chosen), strict=True)


def main(numbers: Sequence[str]) -> int:
    """0 if the chosen systems, or all 80, are proved; 1 otherwise."""
    try:
        entries = systems()
        if strange := [number for number in numbers if number not in entries]:
            raise ValueError(f"{strange[0]} has no entry in systems.toml")
        missing = [] if numbers else [number for number in NUMBERS if number not in entries]
        chosen = [entries[number] for number in numbers or entries]
        wrong = 0
        for system, why in prove(chosen):
            print(f"{system.number:4}{why or 'works'}: {system.name}", flush=True)
            wrong += bool(why)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{len(chosen) - wrong} of {len(chosen) + len(missing)} systems work")
    if missing:
        print(f"no entry: {', '.join(missing)}")
    return 1 if wrong or missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
