"""How many small changes of refnn's core its tests see: the mutation score of formats, check, arithmetic and ops.

`python benchmarks/mutation.py cover COVER` runs every test once, and writes which lines of the core each one executes
and how long it takes. `... run STATE --cover COVER [--files GLOB] [--share S] [--seed N]` makes mutants with mutmut's
operators and runs the tests that execute what each one changes; `--again` runs those once more that survived. STATE is
a file of JSON lines that a run appends to, so that it can be stopped and continued. `... page STATE... --share S`
prints the committed page of the mutants with a lot below S. It needs `pip install -e '.[benchmark]'` and fork.

A mutant is run in a forked process, in which refnn, its tests and their frameworks are imported already: there the code
of the changed function is put in place of the old one. What changes a module outside its functions, and what survives
though the function was called while the modules were imported, is run in a process that imports the changed module.
Tests run in the order of their success with mutants of the file so far; then those that say the name of the function,
then those that have the name of the file in theirs, then all others, by turns from each file, the short ones first; up
to the first that fails, which then has to pass without the change. One that never ends counts as failed. A test of more
than `LIMIT` seconds of processor time takes no part, and all together take `--budget` seconds at most; then comes
the comparison with the committed fixtures, whatever it takes. The whole suite sees more.
"""

from __future__ import annotations

import argparse
import ast
import functools
import gc
import hashlib
import importlib
import importlib.util
import inspect
import json
import math
import multiprocessing
import os
import platform
import re
import resource
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any, ClassVar

ROOT = Path(__file__).resolve().parent.parent
CORE = ["refnn/formats.py", "refnn/checking/check.py", "refnn/arithmetic/*.py", "refnn/ops/*.py"]
FIRST = 8  # tests without an import of the changed module, where something of the old code may be left
LIMIT = 4.0  # seconds of processor time; a test that takes longer is left out
IMPORT = "the tests cannot be collected"
FIXTURES = "tests/test_fixtures.py::test_the_files_are_written_again_to_the_byte"  # asked last, and always

# Mutants that no test can see, each with the reason.
EQUIVALENT = {
    "refnn/formats.py: > 0 -> >= 0": "the number is infinite there, and never 0",
    "refnn/arithmetic/balls.py: < 2 * BLOCK -> <= 2 * BLOCK": "how much is computed at a time",
}


@dataclass(frozen=True)
class Mutant:
    path: str
    line: int
    before: str
    after: str
    source: str  # of the whole changed file

    @property
    def key(self) -> str:
        text = f"{self.path}:{self.line}:{self.before}:{self.after}:{self.source}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]


# --- mutants ---------------------------------------------------------------------------------------------------------


def mutants(path: str) -> Iterator[Mutant]:
    """Every mutant of a file, less those that no test could see: texts of errors and of reasons, types, assertions
    about what always holds (assert, zip's strict), how much is computed at a time or remembered (BLOCK, decorators of
    caches), shortcuts for what is zero (calls of _none and _exact); and the shapes that an op is tested in (variants).
    Nor what NumPy takes for the same, a length of -2 in a shape for -1."""
    import libcst as cst
    from libcst.metadata import ByteSpanPositionProvider, MetadataWrapper, PositionProvider
    from mutmut.mutation.file_mutation import MutationVisitor
    from mutmut.mutation.mutators import mutation_operators
    from mutmut.mutation.pragma_handling import IgnoredCode

    class Visitor(MutationVisitor):
        reasons: ClassVar[set[Any]] = set()  # the texts in tables of special values

        def _skip_node_and_children(self, node: Any) -> bool:
            if isinstance(node, cst.FunctionDef):  # mutmut leaves out what is decorated
                return False
            if isinstance(node, cst.Assign) and (_alias(node) or _name(node.targets[0].target) in ("BLOCK", "_BLOCK")):
                return True
            if isinstance(node, cst.Call) and _name(node.func) == "Special":
                self.reasons.update(a for a in node.args if isinstance(a.value, cst.SimpleString))
            shortcut = isinstance(node, cst.Call) and _name(node.func) in ("_none", "_exact")
            data = node in self.reasons or (isinstance(node, cst.Arg) and _name(node.keyword) in ("strict", "variants"))
            texts = shortcut or data or isinstance(node, cst.Raise | cst.Assert)
            return texts or bool(super()._skip_node_and_children(node))

    def _name(node: Any) -> str:
        return node.value if isinstance(node, cst.Name) else ""

    def _alias(node: Any) -> bool:
        """Whether it names a type, as in `Array = Any`."""
        text = module.code_for_node(node.value)
        return bool(re.fullmatch(r"Any|Callable\[.*|[A-Za-z.]+( \| [A-Za-z.]+)+", text))

    code = (ROOT / path).read_text()
    module = cst.parse_module(code)
    wrapper = MetadataWrapper(module, unsafe_skip_copy=True)
    ignored = IgnoredCode(no_mutate_lines=set(), ignore_node_lines=set(), ignore_pattern_lines=set())
    visitor = Visitor(mutation_operators, ignored)
    wrapper.visit(visitor)
    places, spans = wrapper.resolve(PositionProvider), wrapper.resolve(ByteSpanPositionProvider)
    raw, seen = code.encode(), set()
    for m in visitor.mutations:
        whole = module.code_for_node(m.original_node)
        before, after = whole.strip(), module.code_for_node(m.mutated_node).strip()
        first = spans[m.original_node].start
        if raw.startswith(whole.encode(), first):
            first += len(whole) - len(whole.lstrip())
        if not raw.startswith(before.encode(), first):  # parentheses are outside of the span
            first = raw.rfind(before.encode(), 0, first + len(before.encode()))
        source = (raw[:first] + after.encode() + raw[first + len(before.encode()) :]).decode()
        bare = [re.sub(r",?\s*(strict=(True|None))?\s*,?\s*\)$", ")", text) for text in (before, after)]
        if source not in seen and bare[0] != bare[1] and not _same_but_reason(before, after):
            seen.add(source)
            line = places[m.original_node].start.line
            if re.search(r"reshape\(\[?-$", raw[:first].decode()[-10:]):
                continue  # NumPy takes a length of -2 for -1, too
            yield Mutant(path, line, " ".join(before.split()), " ".join(after.split()), source)


def _same_but_reason(before: str, after: str) -> bool:
    """Whether two rows of special values differ in nothing but the reason."""
    if not (before.startswith("Special(") and after.startswith("Special(")):
        return False
    rows = [ast.parse(text, mode="eval").body for text in (before, after)]
    for row in rows:
        if not isinstance(row, ast.Call) or len(row.args) < 4:
            return False
        del row.args[3]
    return ast.dump(rows[0]) == ast.dump(rows[1])


def lot(key: str, seed: int) -> float:
    return float(int(hashlib.sha256(f"{seed}:{key}".encode()).hexdigest()[:8], 16) / 16**8)


def chosen(paths: list[str], share: float, seed: int) -> list[tuple[float, Mutant]]:
    """A part of the mutants of these files, each with the probability `share`, by a hash of itself and the seed. They
    come in the order of the hash, so that what a run has done when it is stopped is a sample, too."""

    found = [(lot(m.key, seed), m) for path in paths for m in mutants(path)]
    return sorted((x for x in found if x[0] < share), key=lambda x: x[0])


# --- tests -----------------------------------------------------------------------------------------------------------


class Cover:
    """Which tests execute a line of the core, and the seconds each one takes."""

    def __init__(self, folder: Path) -> None:
        from coverage import CoverageData

        self.data = CoverageData(str(folder / "lines"))
        self.data.read()
        self.seconds: dict[str, float] = json.loads((folder / "seconds.json").read_text())

    @functools.cache  # noqa: B019
    def lines(self, path: str) -> dict[int, list[str]]:
        return self.data.contexts_by_lineno(str(ROOT / path))

    def tests(self, m: Mutant) -> set[str]:
        """The tests that execute the statement that a mutant changes. Where that runs at import only, all of its file,
        and those that have its name in theirs or in their files, which may read what an import leaves behind."""
        lines = self.lines(m.path)
        found = {t for n in statement(m.path, m.line) for t in lines.get(n, [])}
        if found == {""} or not function(m.path, m.line):
            found = {t for tests in lines.values() for t in tests} | set(filter(named(m.path).search, self.seconds))
            found |= set(self.seconds) if Path(m.path).name.startswith("_") else set()  # ops have taken their parts
            found |= {t for t in self.seconds if dotted(m.path) in source(t.split("::")[0])}
        return found & self.seconds.keys()

    def early(self, m: Mutant) -> bool:
        """Whether the function that a mutant changes runs already when refnn and the tests are imported, and may have
        left something behind."""
        return any("" in self.lines(m.path).get(n, []) for n in function(m.path, m.line))


def named(path: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![a-z0-9]){Path(path).stem.strip('_')}(?![a-z0-9])")


def dotted(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


@functools.cache
def source(path: str) -> str:
    return (ROOT / path).read_text()


@functools.cache
def tree(path: str) -> ast.Module:
    return ast.parse(source(path))


def statement(path: str, line: int) -> range:
    """The lines of the innermost statement at a line; of a compound one those of its head."""
    found = [n for n in ast.walk(tree(path)) if isinstance(n, ast.stmt) and n.lineno <= line <= (n.end_lineno or 0)]
    node = max(found, key=lambda n: n.lineno)
    body: Any = getattr(node, "body", None)
    return range(node.lineno, max(node.lineno + 1, body[0].lineno) if body else (node.end_lineno or 0) + 1)


def function(path: str, line: int) -> range:
    """The lines of the body of the outermost function around a line; none outside of functions."""
    nodes = [n for n in ast.walk(tree(path)) if isinstance(n, ast.FunctionDef)]
    bodies = [range(n.body[0].lineno, (n.end_lineno or 0) + 1) for n in nodes]
    return max((body for body in bodies if line in body), key=len, default=range(0))


def cover(folder: Path) -> None:
    """Run every test that was not run yet, in as many processes as there are processors."""
    from coverage import Coverage, CoverageData

    folder.mkdir(parents=True, exist_ok=True)
    include = [str(ROOT / p) for p in CORE]
    importing = Coverage(data_file=str(folder / "import"), include=include, config_file=False)
    known = folder / "seconds.json"
    seconds = json.loads(known.read_text()) if known.exists() else {}

    def work(_: Loop, items: list[Any]) -> None:
        importing.stop()
        importing.save()
        todo, processes = [i for i in items if i.nodeid not in seconds], multiprocessing.get_context("fork")
        workers = [processes.Process(target=part, args=(n, todo)) for n in range(os.cpu_count() or 1)]
        for w in workers:
            w.start()
        for w in workers:
            w.join()
        assert not any(w.exitcode for w in workers)
        whole = CoverageData(str(folder / "lines"))
        whole.read()
        for n in ("import", *map(str, range(len(workers)))):
            data = CoverageData(str(folder / n))
            data.read()
            whole.update(data)
        whole.write()
        for n in range(len(workers)):
            seconds.update(json.loads((folder / f"{n}.json").read_text()))
        known.write_text(json.dumps(dict(sorted(seconds.items()))))

    def part(n: int, items: list[Any]) -> None:
        """One process's tests. One that fails or takes very long has no place in the seconds."""
        tracer = Coverage(data_file=str(folder / str(n)), include=include, config_file=False)
        seconds: dict[str, float] = {}
        own = items[n :: os.cpu_count() or 1]

        def late(signum: int, frame: Any) -> None:
            raise TimeoutError

        signal.signal(signal.SIGPROF, late)
        tracer.start()
        for item, following in zip(own, [*own[1:], None], strict=True):
            tracer.switch_context(item.nodeid)
            signal.setitimer(signal.ITIMER_PROF, 4 * LIMIT)
            loop = Loop(None)
            item.config.pluginmanager.register(loop)
            start = time.process_time()
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            signal.setitimer(signal.ITIMER_PROF, 0)
            if not loop.failed:
                seconds[item.nodeid] = round(time.process_time() - start, 4)
            item.config.pluginmanager.unregister(loop)
        tracer.stop()
        tracer.save()
        (folder / f"{n}.json").write_text(json.dumps(seconds))

    importing.start()
    collect(work, ["tests"])


class Loop:
    """A pytest plugin that runs `work` in place of the tests that were collected."""

    def __init__(self, work: Any) -> None:
        self.work = work
        self.failed = ""

    def pytest_runtestloop(self, session: Any) -> bool:
        self.work(self, session.items)
        return True

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            self.failed = report.nodeid

    def run(self, items: list[Any], seconds: dict[str, float]) -> str:
        """The first of the tests that fails, or nothing; a signal ends the process where one takes too long."""
        for item, following in zip(items, [*items[1:], None], strict=True):
            signal.setitimer(signal.ITIMER_PROF, 10 + 5 * seconds.get(item.nodeid, LIMIT))
            os.write(3, f"{item.nodeid}\n".encode())
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if self.failed:
                return self.failed
        return ""


def collect(work: Any, files: Iterable[str]) -> None:
    import pytest

    options = [
        "--assert=plain",
        "-p",
        "no:xdist",
        "-p",
        "no:cacheprovider",
        "-o",
        "addopts=",
        "-s",
        "-q",
        "--no-header",
    ]
    warnings = ["-W", "ignore::pytest.PytestAssertRewriteWarning", "-m", "not slow"]
    status = pytest.main([*options, *warnings, *files], plugins=[Loop(work)])
    assert status in (0, 1), status  # or a module cannot be imported


def forked(work: Any) -> tuple[int, list[str]]:
    """The exit status of `work` in a forked process, and the lines that it wrote to descriptor 3."""
    out = os.memfd_create("lines")
    pid = os.fork()
    if pid == 0:
        null = os.open(os.environ.get("MUTATION_LOG", os.devnull), os.O_WRONLY | os.O_APPEND)
        for number in (1, 2):
            os.dup2(null, number)
        os.dup2(out, 3)
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_AS, (12 << 30, 12 << 30))
        try:
            work()
        except BaseException as e:
            os.write(3, f"! {type(e).__name__}: {e}\n".encode())
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    os.lseek(out, 0, os.SEEK_SET)
    with os.fdopen(out) as lines:
        return os.waitstatus_to_exitcode(status), lines.read().splitlines()


# --- one mutant ------------------------------------------------------------------------------------------------------


def functions_changed(before: types.CodeType, after: types.CodeType) -> dict[types.CodeType, types.CodeType] | None:
    """The outermost functions that differ, old to new; None where module or class bodies differ."""

    def same(a: Any, b: Any) -> bool:
        if not isinstance(a, types.CodeType):
            return type(a) is type(b) and repr(a) == repr(b)
        facts = (
            "code",
            "names",
            "varnames",
            "freevars",
            "cellvars",
            "argcount",
            "kwonlyargcount",
            "flags",
            "exceptiontable",
        )
        return (
            isinstance(b, types.CodeType)
            and all(getattr(a, f"co_{f}") == getattr(b, f"co_{f}") for f in facts)
            and len(a.co_consts) == len(b.co_consts)
            and all(map(same, a.co_consts, b.co_consts))
        )

    if same(before, after):
        return {}
    if before.co_flags & 2:  # locals are fast: a function, not a body
        return {before: after}
    own = [[c for c in x.co_consts if isinstance(c, types.CodeType)] for x in (before, after)]
    rest = [before.replace(co_consts=tuple(0 if isinstance(c, types.CodeType) else c for c in before.co_consts))]
    rest += [after.replace(co_consts=tuple(0 if isinstance(c, types.CodeType) else c for c in after.co_consts))]
    if len(own[0]) != len(own[1]) or not same(*rest):
        return None
    changed: dict[types.CodeType, types.CodeType] = {}
    for a, b in zip(*own, strict=True):
        if (part := functions_changed(a, b)) is None:
            return None
        changed |= part
    return changed


def code_changed(m: Mutant) -> dict[types.CodeType, types.CodeType] | None:
    path = str(ROOT / m.path)
    try:
        after = compile(m.source, path, "exec")
    except SyntaxError:
        return None
    return functions_changed(compile((ROOT / m.path).read_text(), path, "exec"), after)


def put_in_place(m: Mutant) -> None:
    """Give the functions that differ their new code. LookupError where that cannot be done here."""
    path, changed = str(ROOT / m.path), code_changed(m)
    if not changed:
        raise LookupError("not in a function")
    for old, new in changed.items():
        live = [
            f
            for f in gc.get_objects()
            if type(f) is types.FunctionType  # not isinstance, which asks lazy objects for their class
            and f.__code__.co_filename == path
            and (f.__code__.co_qualname, f.__code__.co_firstlineno) == (old.co_qualname, old.co_firstlineno)
        ]
        if not live:
            raise LookupError("nowhere alive")
        for f in live:
            if len(f.__code__.co_freevars) != len(new.co_freevars):
                raise LookupError("another closure")
            f.__code__ = new


class Changed(SourceFileLoader):
    """Loads the source of a mutant in place of the file."""

    source = ""

    def get_code(self, fullname: str) -> types.CodeType:
        return compile(self.source, self.path, "exec")


class Finder:
    def __init__(self, m: Mutant) -> None:
        self.path = str(ROOT / m.path)
        self.name = dotted(m.path)
        self.source = m.source

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != self.name:
            return None
        loader = Changed(name, self.path)
        loader.source = self.source
        inside = [str(Path(self.path).parent)] if self.path.endswith("__init__.py") else None
        return importlib.util.spec_from_file_location(name, self.path, loader=loader, submodule_search_locations=inside)


# --- the run ---------------------------------------------------------------------------------------------------------


def preload() -> None:
    """What refnn and its tests import, and not refnn itself."""
    for name in ("flint", "matplotlib", "ml_dtypes", "mpmath", "numpy", "rich", "safetensors", "sympy", "typer"):
        importlib.import_module(name)
    import hypothesis
    import torch

    torch.set_num_threads(1)
    hypothesis.settings.register_profile("fixed", derandomize=True, database=None, deadline=None)
    hypothesis.settings.load_profile("fixed")


@functools.cache
def text(function: Any) -> str:
    return inspect.getsource(function)


class Run:
    def __init__(self, state: Path, cover: Cover, items: list[Any], budget: float) -> None:
        self.state, self.cover, self.budget = state, cover, budget
        self.items = {i.nodeid: i for i in items}
        self.done: dict[str, dict[str, Any]] = {}
        self.passes: set[str] = set()  # tests that were run without a change
        self.order: dict[str, list[str]] = {}  # of each path, the tests that saw mutants, the latest first
        for line in state.read_text().splitlines() if state.exists() else []:
            row = json.loads(line)
            if "passes" in row:
                self.passes.add(row["passes"])
            else:
                self.done[row["key"]] = row
                self.succeeded(row["path"], row["killer"])

    def write(self, row: dict[str, Any]) -> None:
        with self.state.open("a") as f:
            f.write(json.dumps(row) + "\n")

    def succeeded(self, path: str, test: str) -> None:
        order = self.order.setdefault(path, [])
        if test in order:
            order.remove(test)
        if test:
            order.insert(0, test)

    def of(self, m: Mutant) -> list[Any]:
        """The tests that concern a mutant, in the order of a run."""
        called = re.compile(
            "|".join(rf"\b{c.co_name}\b" for c in code_changed(m) or {} if c.co_name.isidentifier()) or "(?!)"
        )
        rank = {t: n for n, t in enumerate(self.order.get(m.path, []))}
        groups: dict[str, list[str]] = {}  # of each test file its tests, the shortest first
        for test in sorted(self.cover.tests(m) & self.items.keys(), key=self.cover.seconds.__getitem__):
            groups.setdefault(test.split("::")[0], []).append(test)

        def turn(n: int, test: str) -> tuple[int, int, int, str]:
            says = called.search(text(self.items[test].function))
            kind = 3 if test.startswith(FIXTURES) else 0 if says else 1 if named(m.path).search(test) else 2
            return rank.get(test, len(rank)), kind, n, test

        able, left = [], self.budget
        for *_, test in sorted(turn(n, test) for tests in groups.values() for n, test in enumerate(tests)):
            took = 0.0 if test.startswith(FIXTURES) else self.cover.seconds[test]
            if took < min(LIMIT, left):
                able.append(self.items[test])
                left -= took
        return able

    def passing(self, test: str) -> bool:
        """Whether a test passes alone, without a change."""

        def once() -> None:
            loop = Loop(None)
            self.items[test].config.pluginmanager.register(loop)
            os.write(3, f"failed {loop.run([self.items[test]], self.cover.seconds)}\n".encode())

        if test != IMPORT and test not in self.passes:
            status, lines = forked(once)
            if status != 0 or lines[-1] != "failed ":
                del self.items[test]
                print(f"left out: {test} fails alone", flush=True)
                return False
            self.passes.add(test)
            self.write({"passes": test})
        return True

    def all(self, paths: list[str], share: float, seed: int, again: bool, bare: Zygote) -> None:
        known = {k for k, row in self.done.items() if row["killer"] or not again}
        for at, m in chosen(paths, share, seed):
            if m.key not in known:
                start = time.monotonic()
                killer, fresh = self.judged(m, self.of(m), bare)
                while killer and not self.passing(killer):
                    killer, fresh = self.judged(m, self.of(m), bare)
                row = {"key": m.key, "path": m.path, "line": m.line, "before": m.before, "after": m.after}
                row |= {"killer": killer, "fresh": fresh, "seconds": round(time.monotonic() - start, 2), "seed": seed}
                self.done[m.key] = row
                self.write(row)
                self.succeeded(m.path, killer)
                if not killer:
                    print(f"{at:.4f} survives: {m.path}:{m.line}: {m.before} -> {m.after}", flush=True)

    def judged(self, m: Mutant, tests: list[Any], zygote: Zygote) -> tuple[str, bool]:
        """The test that kills a mutant, or nothing; and whether the changed module had to be imported for it."""

        def fast() -> None:
            put_in_place(m)
            loop = Loop(None)
            tests[0].config.pluginmanager.register(loop)
            os.write(3, f"failed {loop.run(tests[:FIRST] if early else tests, self.cover.seconds)}\n".encode())

        if not tests:
            return "", False
        early = self.cover.early(m)
        status, lines = forked(fast)
        last = lines[-1] if lines else ""
        if status < 0:
            return last, False
        if status == 0 and (last != "failed " or not early):
            return last.removeprefix("failed "), False
        if status and "LookupError" not in last:
            print(status, lines[-3:], flush=True)
        return zygote.ask(m, {t.nodeid: self.cover.seconds[t.nodeid] for t in tests}), True


class Zygote:
    """A process with everything but refnn imported, which forks one for each mutant that is to be imported."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, "zygote"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )

    def ask(self, m: Mutant, tests: dict[str, float]) -> str:
        assert self.process.stdin is not None and self.process.stdout is not None
        print(json.dumps({"path": m.path, "source": m.source, "tests": tests}), file=self.process.stdin, flush=True)
        return str(json.loads(self.process.stdout.readline()))


def zygote() -> None:
    preload()
    for line in sys.stdin:
        asked = json.loads(line)
        m, seconds = Mutant(asked["path"], 0, "", "", asked["source"]), asked["tests"]
        for part in batches(list(seconds)):

            def fresh(part: list[str] = part, m: Mutant = m, seconds: dict[str, float] = seconds) -> None:
                sys.meta_path.insert(0, Finder(m))  # type: ignore[arg-type]
                signal.setitimer(signal.ITIMER_PROF, 60)

                def work(loop: Loop, items: list[Any]) -> None:
                    place = {t: n for n, t in enumerate(part)}
                    todo = sorted((i for i in items if i.nodeid in place), key=lambda i: place[i.nodeid])
                    gone = place.keys() - {i.nodeid for i in todo}  # an op that is no more
                    failed = min(gone, default="") or loop.run(todo, seconds)
                    os.write(3, f"failed {failed}\n".encode())

                os.write(3, f"{IMPORT}\n".encode())
                collect(work, dict.fromkeys(t.split("::")[0] for t in part))

            status, lines = forked(fresh)
            last = lines[-1] if lines else IMPORT
            killer = "" if status == 0 and last == "failed " else last.removeprefix("failed ")
            killer = IMPORT if killer.startswith("!") else killer
            if killer:
                break
        print(json.dumps(killer), flush=True)


def batches(tests: list[str]) -> Iterator[list[str]]:
    """The first test alone, because it often is enough; then all others."""
    yield tests[:1]
    if tests[1:]:
        yield tests[1:]


def paths(glob: str) -> list[str]:
    found = [str(p.relative_to(ROOT)) for pattern in CORE for p in sorted(ROOT.glob(pattern))]
    return [p for p in found if fnmatch(p, glob)]


# --- the page --------------------------------------------------------------------------------------------------------


def interval(killed: int, total: int, beyond: float = 0.025) -> tuple[float, float]:
    """The interval of Clopper and Pearson (Biometrika 26 (1934) 404) for a share, at 95 % by default."""

    def at_most(k: int, p: float) -> float:
        return math.fsum(math.comb(total, i) * p**i * (1 - p) ** (total - i) for i in range(k + 1))

    def root(f: Callable[[float], float]) -> float:
        """Where an increasing function is 0."""
        low, high = 0.0, 1.0
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (middle, high) if f(middle) < 0 else (low, middle)
        return low

    low = 0.0 if killed == 0 else root(lambda p: 1 - at_most(killed - 1, p) - beyond)
    return low, 1.0 if killed == total else root(lambda p: beyond - at_most(killed, p))


def page(rows: list[dict[str, Any]], drawn: int, share: float, seed: int) -> str:
    """The score by folder and file, and every survivor; those that are equivalent do not count."""
    from importlib.metadata import version

    named = {r["key"]: f"{r['path']}: {r['before']} -> {r['after']}" for r in rows}
    counted = [r for r in rows if named[r["key"]] not in EQUIVALENT]
    survivors = [r for r in counted if not r["killer"]]
    low, high = interval(len(counted) - len(survivors), len(counted))
    folders = dict.fromkeys([str(Path(r["path"]).parent) for r in rows] + [r["path"] for r in rows])
    golden = sum(r["killer"].startswith(FIXTURES) for r in counted)
    versions = ", ".join(f"{p} {version(p)}" for p in ("mutmut", "pytest", "numpy", "torch"))
    killed = len(counted) - len(survivors)
    lines = [
        "# Mutation testing of the core",
        "",
        f"A mutant is a small change of the core, made by mutmut's operators; a test that fails kills it. This "
        f"is a **sample**, not all: {len(rows)} mutants of {drawn} drawn with probability {share:g} by a hash "
        f"(seed {seed}). Killed: {killed} of {len(counted)}, **{killed / len(counted):.1%}**; "
        f"{low:.1%} to {high:.1%} at 95 % confidence (Clopper and Pearson). {len(rows) - len(counted)} more are "
        f"equivalent, each for the reason given below. {golden} were killed by the comparison with the committed "
        "fixtures. `benchmarks/mutation.py` says what is left out, which tests take part, and how the page is renewed.",
        "",
        f"Python {platform.python_version()}, {versions}.",
        "",
        "| file | killed | mutants |",
        "|---|--:|--:|",
    ]
    for name in sorted(folders):
        own = [r for r in counted if r["path"] == name or str(Path(r["path"]).parent) == name]
        lines.append(f"| {name} | {sum(bool(r['killer']) for r in own)} | {len(own)} |")
    for title, shown in (("Survivors", survivors), ("Equivalent", [r for r in rows if named[r["key"]] in EQUIVALENT])):
        lines += ["", f"## {title}", ""]
        for r in shown:
            reason = EQUIVALENT.get(named[r["key"]], "")
            lines.append(f"- `{r['path']}:{r['line']}`: `{r['before']}` -> `{r['after']}`{': ' * bool(reason)}{reason}")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["cover", "run", "page", "zygote", "count"])
    parser.add_argument("states", type=Path, nargs="*")
    parser.add_argument("--cover", type=Path)
    parser.add_argument("--files", default="*")
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--budget", type=float, default=60.0)
    parser.add_argument("--again", action="store_true")
    options = parser.parse_args()
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    if options.what == "zygote":
        zygote()
    elif options.what == "page":
        current = {m.key for _, m in chosen(paths("*"), options.share, options.seed)}
        lines = (line for state in options.states for line in state.read_text().splitlines())
        rows = {r["key"]: r for r in map(json.loads, lines) if r.get("key") in current}
        print(page(list(rows.values()), len(current), options.share, options.seed), end="")
    elif options.what == "cover":
        preload()
        cover(options.states[0])
    elif options.what == "count":
        for path in paths(options.files):
            print(path, len(list(mutants(path))))
    else:
        bare = Zygote()
        preload()

        def work(loop: Loop, items: list[Any]) -> None:
            run = Run(options.states[0], Cover(options.cover), items, options.budget)
            run.all(paths(options.files), options.share, options.seed, options.again, bare)

        collect(work, ["tests"])


if __name__ == "__main__":
    main()
