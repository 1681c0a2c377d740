"""How many small changes of refnn's core its tests see: the mutation score of formats, check, arithmetic and ops.

Three steps, after `pip install -e '.[benchmark]'`:

    python -m pytest tests --cov=refnn --cov-context=test --cov-report= --junit-xml=tests.xml
    python benchmarks/mutation.py run STATE --count 440 --seed 4
    python benchmarks/mutation.py page STATE

The first runs every test once. It writes which tests execute each line (`.coverage`) and how long each one takes
(`tests.xml`). The second draws mutants at random. For each it writes the changed file into a copy of the tree, and runs
the tests that execute the changed statement. It appends a JSON line to the file STATE, so that it can be stopped and
continued. The third prints the committed page.

The changes are those of mutmut's operators. What no test could see is left out (`blind`, `seen`): texts of errors and
reasons, types, assertions about what always holds, how much is computed at a time, shortcuts for what is zero. Mutants
that change nothing for another reason are named in `EQUIVALENT`.

Tests run up to the first that fails. Those that killed mutants of the file before come first, then the short ones. A
test that takes more than `LIMIT` seconds takes no part, and all together take `BUDGET` seconds at most; then comes the
comparison with the committed fixtures, whatever it takes. A mutant whose tests never end, or cannot be collected, is
killed, too. What kills a mutant has to pass without it: a test that does not is left out. The whole suite sees more.
"""

from __future__ import annotations

import argparse
import ast
import functools
import importlib.util
import json
import math
import os
import queue
import random
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import libcst as cst
from coverage import CoverageData
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation.mutators import mutation_operators

ROOT = Path(__file__).resolve().parent.parent
CORE = ["refnn/formats.py", "refnn/checking/check.py", "refnn/arithmetic/*.py", "refnn/ops/*.py"]
LIMIT, BUDGET = 4.0, 60.0  # seconds: of one test, and of all tests of a mutant
FIXTURES = "tests/test_fixtures.py::test_the_files_are_written_again_to_the_byte"
OUTSIDE = "the tests cannot be collected, or never end"

# Mutants that no test can see, each with the reason.
EQUIVALENT = {
    "refnn/formats.py: > 0 -> >= 0": "the number is infinite there, and never 0",
    "refnn/arithmetic/parts.py: < 2 * BLOCK -> <= 2 * BLOCK": "how much is computed at a time",
}


# --- mutants ---------------------------------------------------------------------------------------------------------


class Mutant(NamedTuple):
    path: str
    line: int
    column: int
    before: str
    after: str


def mutants(path: str) -> dict[Mutant, Callable[[], Any]]:
    """Every mutant of a file, each with what gives the whole changed file."""
    wrapper = MetadataWrapper(cst.parse_module((ROOT / path).read_text()))
    module, places = wrapper.module, wrapper.resolve(PositionProvider)
    found: dict[Mutant, Callable[[], Any]] = {}

    class Visitor(cst.CSTVisitor):
        def on_visit(self, node: cst.CSTNode) -> bool:
            if blind(node):
                return False
            for kind, operator in mutation_operators:
                for changed in operator(node) if isinstance(node, kind) else ():
                    if seen(node) != seen(changed):
                        start, texts = places[node].start, (" ".join(code(n).split()) for n in (node, changed))
                        make = functools.partial(module.deep_replace, node, changed)
                        found[Mutant(path, start.line, start.column, *texts)] = make
            return True

    module.visit(Visitor())
    return found


def blind(node: cst.CSTNode) -> bool:
    """Whether no test could see a change in here."""
    if isinstance(node, cst.Assign):  # a type, as in `Array = Any`
        alias = re.fullmatch(r"Any|(Callable|TypeVar)\b.*|[A-Za-z.]+( \| [A-Za-z.]+)+", code(node.value))
        return alias is not None or name(node.targets[0].target) == "BLOCK"
    if isinstance(node, cst.Call):
        return name(node.func) in ("is_zero", "isinstance", "cast")
    if isinstance(node, cst.Arg):
        return name(node.keyword) in ("strict", "variants")
    if isinstance(node, cst.SimpleString):  # a sentence: the reason of a special value
        return " " in node.value
    return isinstance(node, cst.Raise | cst.Assert | cst.Annotation | cst.Decorator)


def seen(node: cst.CSTNode) -> list[str]:
    """The code of a node; of a call its arguments, but for those that no test could see: the reason in a row of special
    values, and zip's strict."""
    if not isinstance(node, cst.Call):
        return [code(node)]
    reason = 3 if name(node.func) == "Special" else -1
    return [code(node.func)] + [
        code(a.value) for i, a in enumerate(node.args) if i != reason and name(a.keyword) != "strict"
    ]


def code(node: cst.CSTNode) -> str:
    return cst.Module([]).code_for_node(node)


def name(node: cst.CSTNode | None) -> str:
    return node.value if isinstance(node, cst.Name) else ""


# --- tests -----------------------------------------------------------------------------------------------------------


class Tests:
    """Which tests execute a statement, and the seconds each one takes."""

    def __init__(self) -> None:
        self.data = CoverageData(str(ROOT / ".coverage"))
        self.data.read()
        self.seconds = {
            f"{case.attrib['classname'].replace('.', '/')}.py::{plain(case.attrib['name'])}": float(case.attrib["time"])
            for case in ET.parse(ROOT / "tests.xml").iter("testcase")
            if not len(case)  # it neither failed nor was skipped
        }

    @functools.cache  # noqa: B019
    def lines(self, path: str) -> dict[int, set[str]]:
        contexts = self.data.contexts_by_lineno(str(ROOT / path))
        return {n: {plain(c.rpartition("|")[0]) for c in tests if c} for n, tests in contexts.items()}

    def of(self, m: Mutant) -> list[str]:
        """The tests that execute the changed statement, the short ones first. Where that runs when the module is
        imported and in no test, those that execute anything in the file."""
        lines = self.lines(m.path)
        found = set().union(*(lines.get(n, ()) for n in statement(m.path, m.line))) or set().union(*lines.values())
        left, able = BUDGET, []
        for test in sorted(found & self.seconds.keys(), key=self.seconds.__getitem__):
            if not test.startswith(FIXTURES) and self.seconds[test] < min(LIMIT, left):
                able.append(test)
                left -= self.seconds[test]
        return able + sorted(t for t in found if t.startswith(FIXTURES))


def plain(test: str) -> str:
    """The id of a test without the group that pytest-xdist adds."""
    return re.sub(r"@\w+$", "", test)


def statement(path: str, line: int) -> range:
    """The lines of the innermost statement at a line; of a compound one those of its head."""
    nodes = [n for n in ast.walk(ast.parse((ROOT / path).read_text())) if isinstance(n, ast.stmt)]
    node = max((n for n in nodes if n.lineno <= line <= (n.end_lineno or 0)), key=lambda n: n.lineno)
    body = getattr(node, "body", None)
    return range(node.lineno, max(node.lineno + 1, body[0].lineno) if body else (node.end_lineno or 0) + 1)


class Tree:
    """A copy of the tree, in which one file at a time is changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(".*", "__pycache__", "node_modules"))

    def failing(self, tests: list[str], seconds: float, path: str = "", source: str = "") -> str:
        """The first of the tests that fails with this file changed, or nothing."""
        if path:
            self._write(path, source)
        options = ["-x", "-q", "--tb=no", "-rfE", "-o", "addopts=", "-p", "no:cacheprovider", "--hypothesis-seed=0"]
        (self.folder / "chosen.txt").write_text("\n".join(tests))
        environment = {**os.environ, "PYTHONPATH": str(self.folder), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "pytest", *options, "@chosen.txt"]
        try:
            done = subprocess.run(
                command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=seconds
            )
        except subprocess.TimeoutExpired:
            return OUTSIDE
        finally:
            if path:
                self._write(path, (ROOT / path).read_text())
        failed = re.search(r"^(?:FAILED|ERROR) (\S+::.+?)(?: - |$)", done.stdout, re.MULTILINE)
        return "" if done.returncode == 0 else failed[1] if failed else OUTSIDE

    def _write(self, path: str, source: str) -> None:
        """Write a file. Python would take bytecode for that of the new file if size and second are the same."""
        Path(importlib.util.cache_from_source(str(self.folder / path))).unlink(missing_ok=True)
        (self.folder / path).write_text(source)


# --- the run ---------------------------------------------------------------------------------------------------------


def killer(m: Mutant, source: str, tests: Tests, tree: Tree, before: list[str]) -> str:
    """The test that kills a mutant, or nothing."""
    chosen = sorted(tests.of(m), key=lambda t: before.index(t) if t in before else len(before))
    while chosen:
        seconds = 120 + 5 * sum(tests.seconds[t] for t in chosen)
        found = tree.failing(chosen, seconds, m.path, source)
        if not found or not (wrong := tree.failing([found] if found in chosen else chosen, seconds)):
            return found
        print(f"left out, for it fails without a change: {wrong}", flush=True)
        chosen = [t for t in chosen if t != wrong]
    return ""


def run(state: Path, glob: str, count: int, seed: int) -> None:
    """Judge `count` mutants drawn at random, those that are not in the state yet, with as many trees as there are
    processors. What is done when a run is stopped is a sample, too: the order is random."""
    paths = [str(p.relative_to(ROOT)) for pattern in CORE for p in sorted(ROOT.glob(pattern))]
    every = {m: make for path in paths if fnmatch(path, glob) for m, make in mutants(path).items()}
    drawn = random.Random(seed).sample(list(every), min(count, len(every)))
    done = {Mutant(*row["mutant"]) for row in rows(state)}
    before: dict[str, list[str]] = {path: [] for path in paths}  # the tests that killed mutants of it, the latest first
    tests, trees = Tests(), queue.SimpleQueue[Tree]()

    def judge(m: Mutant) -> None:
        tree = trees.get()
        found = killer(m, every[m]().code, tests, tree, before[m.path])
        trees.put(tree)
        before[m.path] = list(dict.fromkeys(filter(None, [found, *before[m.path]])))
        with state.open("a") as file:
            file.write(json.dumps({"mutant": m, "killer": found, "seed": seed, "of": len(every)}) + "\n")
        print(*m, f"killed by {found}" if found else "SURVIVES", sep=" | ", flush=True)

    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        for n in range(os.cpu_count() or 1):
            trees.put(Tree(Path(folder) / str(n)))
        list(pool.map(judge, (m for m in drawn if m not in done)))


def rows(state: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in state.read_text().splitlines()] if state.exists() else []


# --- the page --------------------------------------------------------------------------------------------------------


def interval(killed: int, total: int) -> tuple[float, float]:
    """The interval of Clopper and Pearson (Biometrika 26 (1934) 404) for a share, at 95 %."""

    def root(k: int, chance: float) -> float:
        """The share of which at most k of the total are killed with this chance."""
        low, high = 0.0, 1.0
        for _ in range(40):
            p = (low + high) / 2
            at_most = math.fsum(math.comb(total, i) * p**i * (1 - p) ** (total - i) for i in range(k + 1))
            low, high = (p, high) if at_most > chance else (low, p)
        return low

    return root(killed - 1, 0.975) if killed else 0.0, root(killed, 0.025) if killed < total else 1.0


def page(judged: list[dict[str, Any]]) -> str:
    """The score by folder and file, and every survivor; those that are equivalent do not count."""
    dead = {Mutant(*row["mutant"]): row["killer"] for row in judged}
    reasons = {m: EQUIVALENT.get(f"{m.path}: {m.before} -> {m.after}", "") for m in dead}
    counted = {m: killer for m, killer in dead.items() if not reasons[m]}
    killed = sum(map(bool, counted.values()))
    low, high = interval(killed, len(counted))
    golden = sum(killer.startswith(FIXTURES) for killer in counted.values())
    versions = ", ".join(f"{p} {version(p)}" for p in ("mutmut", "pytest", "numpy", "torch"))
    lines = [
        "# Mutation testing of the core",
        "",
        f"A mutant is a small change of the core, made by mutmut's operators; a test that fails kills it. This is a "
        f"**sample**, not all: {len(dead)} mutants of {judged[0]['of']}, drawn at random (seed {judged[0]['seed']}). "
        f"Killed: {killed} of {len(counted)}, **{killed / len(counted):.1%}**; {low:.1%} to {high:.1%} at 95 % "
        f"confidence (Clopper and Pearson). {len(dead) - len(counted)} more are equivalent, each for the reason below. "
        f"{golden} were killed by the comparison with the committed fixtures. `benchmarks/mutation.py` says what is "
        "left out, which tests take part, and how the page is renewed.",
        "",
        f"Python {sys.version.split()[0]}, {versions}.",
        "",
        "| file | killed | mutants |",
        "|---|--:|--:|",
    ]
    for place in sorted({p for m in counted for p in (m.path, str(Path(m.path).parent))}):
        own = [bool(killer) for m, killer in counted.items() if place in (m.path, str(Path(m.path).parent))]
        lines.append(f"| {place} | {sum(own)} | {len(own)} |")
    survivors = {m: "" for m, killer in counted.items() if not killer}
    for title, shown in (("Survivors", survivors), ("Equivalent", {m: f": {r}" for m, r in reasons.items() if r})):
        lines += ["", f"## {title}", "", *(f"- `{m[0]}:{m[1]}`: `{m[3]}` -> `{m[4]}`{why}" for m, why in shown.items())]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "page"])
    parser.add_argument("state", type=Path)
    parser.add_argument("--files", default="*", help="a glob of paths")
    parser.add_argument("--count", type=int, default=440)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.what == "page":
        print(page(rows(options.state)), end="")
    else:
        run(options.state, options.files, options.count, options.seed)


if __name__ == "__main__":
    main()
