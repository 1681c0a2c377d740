"""How many small changes of refnn's core its tests see: the mutation score of formats, check, arithmetic and ops.

`python benchmarks/mutation.py run STATE [--files GLOB] [--share S] [--seed N]` makes mutants with mutmut's operators
and runs the tests that concern each one; `--again` runs those once more that survived. STATE is a file of JSON lines
that a run appends to, so that it can be stopped and continued. `... page STATE... --share S` prints the committed page
of the mutants with a lot below S. It needs `pip install mutmut` and fork.

A mutant is run in a forked process, in which refnn, its tests and their frameworks are imported already: there the code
of the changed function is put in place of the old one. What changes a module outside its functions, and what survives
though the function was called while the modules were imported, is run in a process that imports the changed module.
Tests run in the order of their success with mutants of the file so far; then those that say the name of the function,
those of SELECTION and those with the name of an op (before them for an op itself), by turns from each file, the short
ones first; up to the first that fails, which then has to pass without the change. One that never ends counts as failed.
A test of more than `LIMIT` seconds of processor time takes no part, and all together take `--budget` seconds at most:
the whole suite sees more.
"""

from __future__ import annotations

import argparse
import functools
import gc
import hashlib
import importlib
import importlib.util
import inspect
import json
import math
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
CORE = ["refnn/formats.py", "refnn/check.py", "refnn/arithmetic/*.py", "refnn/ops/*.py"]
LIMIT = 4.0  # seconds of processor time; a test that takes longer is left out
GUESS = 0.5  # where a test was not run yet
FIXTURES = "tests/test_fixtures.py"  # compares with committed numbers: asked last

_CONV = "conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d locally_connected2d"
_POOL = "max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d maxout"
_LOSS = "cross_entropy nll_loss binary_cross_entropy_with_logits smooth_l1_loss mse_loss l1_loss half_squared_error"
_FEW = "linear conv2d max_pool2d softmax cross_entropy gelu tanh binary_cross_entropy_with_logits smooth_l1_loss"

_OPS = "ops_smooth ops_losses ops_piecewise ops_conv ops_pool sources"  # of refnn/ops/X.py, with the tests named X

# Test files of each file of the core, and ops: of other test files, the tests with the name of one of these take part.
SELECTION: dict[str, tuple[str, str]] = {
    "refnn/formats.py": ("formats limits properties judge truth", ""),
    "refnn/check.py": ("check from_torch ties network judge", ""),
    "refnn/arithmetic/__init__.py": ("check ops_piecewise witnesses ties noise balls", ""),
    "refnn/arithmetic/_erf.py": ("erf balls noise", "gelu"),
    "refnn/arithmetic/balls.py": ("balls tightness check never_exceeded maxima judge", _FEW),
    "refnn/arithmetic/exact.py": ("truth pairs record export judge", _FEW),
    "refnn/arithmetic/floats.py": ("check properties windows judge", f"{_FEW} {_POOL}"),
    "refnn/arithmetic/noise.py": ("noise tightness check judge", _FEW),
    "refnn/arithmetic/operators.py": ("balls noise pairs", "linear softmax"),
    "refnn/arithmetic/pairs.py": ("pairs truth", "linear conv2d max_pool2d"),
    "refnn/arithmetic/rounded.py": ("limits limits_published export", ""),
    "refnn/arithmetic/shapes.py": ("shapes record", "conv2d linear"),
    "refnn/arithmetic/symbols.py": ("witnesses record", _FEW),
    "refnn/arithmetic/windows.py": ("windows ops_conv ops_pool pairs noise", "conv2d max_pool2d avg_pool2d"),
    "refnn/ops/__init__.py": ("check cli structure", ""),
    "refnn/ops/_conv.py": ("ops_conv windows shapes", _CONV),
    "refnn/ops/_pool.py": ("ops_pool windows shapes", _POOL),
    "refnn/ops/_shared.py": (_OPS, f"{_LOSS} hardtanh softshrink glu prelu"),
}

# Mutants that no test can see, each with the reason.
EQUIVALENT: dict[str, str] = {}

# The files whose tests are named after ops.
NAMED = "witnesses check properties ops_smooth tightness noise balls shapes mutants fixtures never_exceeded"


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
    caches); and the shapes that an op is tested in (variants)."""
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
            data = node in self.reasons or (isinstance(node, cst.Arg) and _name(node.keyword) in ("strict", "variants"))
            texts = data or isinstance(node, cst.Raise | cst.Assert)
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
        if source not in seen and bare[0] != bare[1]:
            seen.add(source)
            line = places[m.original_node].start.line
            yield Mutant(path, line, " ".join(before.split()), " ".join(after.split()), source)


def lot(key: str, seed: int) -> float:
    return float(int(hashlib.sha256(f"{seed}:{key}".encode()).hexdigest()[:8], 16) / 16**8)


def chosen(paths: list[str], share: float, seed: int) -> list[tuple[float, Mutant]]:
    """A part of the mutants of these files, each with the probability `share`, by a hash of itself and the seed. They
    come in the order of the hash, so that what a run has done when it is stopped is a sample, too."""

    found = [(lot(m.key, seed), m) for path in paths for m in mutants(path)]
    return sorted((x for x in found if x[0] < share), key=lambda x: x[0])


# --- tests -----------------------------------------------------------------------------------------------------------


def selection(path: str) -> tuple[list[str], re.Pattern[str]]:
    """Test files of which all take part, and what the ids of tests in others have in them."""
    files, ops = SELECTION.get(path, (_OPS, Path(path).stem))
    names = "|".join(ops.split())
    return [f"tests/test_{f}.py" for f in files.split()], re.compile(rf"[\[-]({names})[\]:-]" if names else "(?!)")


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
            start = time.process_time()
            os.write(3, f"{item.nodeid}\n".encode())
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if self.failed:
                return self.failed
            os.write(3, f"# {time.process_time() - start:.3f} {item.nodeid}\n".encode())
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
        self.name = m.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
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
    def __init__(self, state: Path, budget: float) -> None:
        self.state, self.budget = state, budget
        self.done: dict[str, dict[str, Any]] = {}
        self.seconds: dict[str, float] = {}
        self.passes: set[str] = set()  # tests that were run without a change
        self.called: set[tuple[str, str]] = set()  # functions, while everything was imported
        self.order: dict[str, list[str]] = {}  # of each path, the tests that saw mutants, the latest first
        for line in state.read_text().splitlines() if state.exists() else []:
            row = json.loads(line)
            if "test" in row:
                self.seconds[row["test"]] = row["seconds"]
                if row.get("alone"):
                    self.passes.add(row["test"])
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

    def of(self, m: Mutant, items: list[Any]) -> list[Any]:
        """The tests that concern a mutant, in the order of a run."""
        path, changed = m.path, code_changed(m) or {}
        called = re.compile("|".join(rf"\b{c.co_name}\b" for c in changed if c.co_name.isidentifier()) or "(?!)")
        files, names = selection(path)
        found = [i for i in items if i.nodeid.split("::")[0] in files or names.search(i.nodeid)]
        rank = {t: n for n, t in enumerate(self.order.get(path, []))}
        took = {i.nodeid: self.seconds.get(i.nodeid, GUESS) for i in found}
        able, left = [], self.budget
        place = {f: n for n, f in enumerate(files)}
        groups: dict[str, list[str]] = {}  # of each test file its tests, the shortest first
        for i in sorted(found, key=lambda i: took[i.nodeid]):
            groups.setdefault(i.nodeid.split("::")[0], []).append(i.nodeid)
        within = {t: n for tests in groups.values() for n, t in enumerate(tests)}

        def turn(i: Any) -> tuple[int, int, int, int]:
            file = i.nodeid.split("::")[0]
            first = names.search(i.nodeid) if path.startswith("refnn/ops/") else file in place
            kind = 3 if file == FIXTURES else 0 if called.search(text(i.function)) else 1 if first else 2
            return rank.get(i.nodeid, len(rank)), kind, within[i.nodeid], place.get(file, len(place))

        for i in sorted(found, key=turn):
            if took[i.nodeid] < min(LIMIT, left):
                able.append(i)
                left -= took[i.nodeid]
        return able

    def measure(self, item: Any) -> None:
        """How long a test takes, infinite where it fails here or takes too long."""

        def once() -> None:
            start = time.process_time()
            loop = Loop(None)
            item.config.pluginmanager.register(loop)
            failed = loop.run([item], {item.nodeid: 0.0})
            os.write(3, f"{'inf' if failed else time.process_time() - start}\n".encode())

        status, lines = forked(once)
        self.seconds[item.nodeid] = float(lines[-1]) if status == 0 else float("inf")
        if self.seconds[item.nodeid] > LIMIT:
            print(f"left out: {item.nodeid}: {self.seconds[item.nodeid]}", flush=True)
        self.passes.add(item.nodeid)
        self.write({"test": item.nodeid, "seconds": self.seconds[item.nodeid], "alone": True})

    def all(self, items: list[Any], paths: list[str], share: float, seed: int, again: bool, bare: Zygote) -> None:
        known = {k for k, row in self.done.items() if row["killer"] or not again}
        for at, m in chosen(paths, share, seed):
            if m.key not in known:
                start = time.monotonic()
                while True:
                    tests = self.of(m, items)
                    killer, fresh = self.judged(m, tests, bare)
                    suspect = [t for t in tests if t.nodeid == killer and killer not in self.passes]
                    if not suspect:
                        break
                    self.measure(suspect[0])
                    if self.seconds[killer] < LIMIT:
                        break
                took = time.monotonic() - start
                row = {"key": m.key, "path": m.path, "line": m.line, "before": m.before, "after": m.after}
                row |= {"killer": killer, "fresh": fresh, "seconds": round(took, 2), "seed": seed}
                self.done[m.key] = row
                self.write(row)
                self.succeeded(m.path, killer)
                if not killer:
                    print(f"{at:.4f} survives: {m.path}:{m.line}: {m.before} -> {m.after} ({took:.0f} s)", flush=True)

    def early(self, m: Mutant) -> bool:
        """Whether the function that a mutant changes ran already when refnn and the tests were imported."""
        return any((str(ROOT / m.path), c.co_qualname) in self.called for c in code_changed(m) or {})

    def judged(self, m: Mutant, tests: list[Any], zygote: Zygote) -> tuple[str, bool]:
        def fast() -> None:
            put_in_place(m)
            loop = Loop(None)
            tests[0].config.pluginmanager.register(loop)
            failed = loop.run(tests, self.seconds)
            os.write(3, f"failed {failed}\n".encode())

        status, lines = forked(fast)
        last = lines[-1] if lines else ""
        for line in lines:
            if line.startswith("# "):
                seconds, test = line[2:].split(" ", 1)
                if test not in self.seconds:
                    self.seconds[test] = float(seconds)
                    self.write({"test": test, "seconds": float(seconds)})
        if status > 0 and "LookupError" not in last:
            print(status, lines[-3:], flush=True)
        if status < 0:
            return last.removeprefix("# "), False
        if status == 0 and (last != "failed " or not self.early(m)):
            return last.removeprefix("failed "), False
        return zygote.ask(m, [t.nodeid for t in tests], self.seconds), True


class Zygote:
    """A process with everything but refnn imported, which forks one for each mutant that is to be imported."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, "zygote"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )

    def ask(self, m: Mutant, tests: list[str], seconds: dict[str, float]) -> str:
        assert self.process.stdin is not None and self.process.stdout is not None
        times = {t: seconds.get(t, GUESS) for t in tests}
        print(json.dumps({"path": m.path, "source": m.source, "tests": times}), file=self.process.stdin, flush=True)
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

                os.write(3, b"import\n")
                collect(work, dict.fromkeys(t.split("::")[0] for t in part))

            status, lines = forked(fresh)
            last = lines[-1] if lines else "import"
            killer = "" if status == 0 and last == "failed " else last.removeprefix("failed ")
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
        f"equivalent, each for the reason given below. {golden} were seen by the committed fixtures alone. "
        "`benchmarks/mutation.py` says what is left out, which tests take part, and how this page is renewed.",
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
    parser.add_argument("what", choices=["run", "page", "zygote", "count"])
    parser.add_argument("states", type=Path, nargs="*")
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
    elif options.what == "count":
        for path in paths(options.files):
            print(path, len(list(mutants(path))))
    else:
        bare = Zygote()
        preload()
        run = Run(options.states[0], options.budget)

        def note(frame: types.FrameType, event: str, arg: Any) -> None:
            if event == "call":
                run.called.add((frame.f_code.co_filename, frame.f_code.co_qualname))

        def work(loop: Loop, items: list[Any]) -> None:
            sys.setprofile(None)
            run.all(items, paths(options.files), options.share, options.seed, options.again, bare)

        sys.setprofile(note)
        files = {f for path in paths(options.files) for f in selection(path)[0]}
        collect(work, sorted(files | {f"tests/test_{f}.py" for f in NAMED.split()}))


if __name__ == "__main__":
    main()
