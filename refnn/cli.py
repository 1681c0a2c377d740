"""The command `refnn`: report, render, compare, check, gen, verify, export, ops, limits, power.

Exit codes: 0 conforming, 1 error (usage too), 2 not conforming, 3 nothing was checked, 130 interrupted. Everything that
takes time to import is imported by the command that uses it.
"""

from __future__ import annotations

import fnmatch
import functools
import importlib
import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from refnn.networks.network import Network
    from refnn.report import Report

CONFORMS, FAILED, DIFFERS, NOTHING, INTERRUPTED = 0, 1, 2, 3, 130
FILES = {
    "html": "report.html",
    "md": "report.md",
    "findings": "findings.md",
    "junit": "junit.xml",
}  # made from report.jsonl
SUFFIXES = {
    "html": ".html",
    "md": ".md",
    "findings": ".findings.md",
    "junit": ".xml",
    "badge": ".badge.json",
    "json": ".json",
}

app = typer.Typer(
    help="Is my gradient right? Certified values, derived tolerances, named verdicts.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Dtypes = Annotated[list[str] | None, typer.Option("--dtype", help="A NumPy dtype name; may be repeated.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the inputs.")]


class Failure(Exception):
    """What went wrong, in one sentence, and the exit code."""

    def __init__(self, sentence: str, code: int = FAILED) -> None:
        super().__init__(sentence)
        self.code = code


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; the exit code."""
    given = list(sys.argv[1:] if args is None else args)
    try:
        code = app(given or ["--help"], prog_name="refnn", standalone_mode=False)
        sys.stdout.flush()
        return FAILED if not given else int(code or CONFORMS)
    except Failure as e:
        _say(str(e))
        return e.code
    except (KeyboardInterrupt, typer.Abort):
        _say("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # Nobody reads on. The interpreter would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as e:
        if not hasattr(e, "format_message"):  # what typer raises for wrong usage
            raise
        path = getattr(getattr(e, "ctx", None), "command_path", "refnn")
        _say(f"{e.format_message()} (see: {path} --help)")
        return FAILED


def _say(sentence: str) -> None:
    print(f"refnn: {sentence}", file=sys.stderr)


# --- report ----------------------------------------------------------------------------------------------------------


@app.command()
def report(
    ops: Annotated[str, typer.Option(metavar="GLOB", help="Only the ops and networks whose name matches.")] = "*",
    dtype: Dtypes = None,
    seed: Seed = 0,
    out: Annotated[Path, typer.Option(help="The folder to write to.")] = Path("refnn-report"),
) -> int:
    """Check PyTorch and write report.jsonl, report.html, report.md, findings.md and junit.xml."""
    dtypes = _known(dtype or ["float32", "float64"])
    subjects = _subjects(ops, dtypes, seed)
    if not subjects:
        raise Failure(f"--ops {ops!r} matches nothing: nothing was checked", NOTHING)
    path = _prepare(out)
    interrupted = False
    try:
        _run(subjects, path, _header(dtypes, seed))
    except KeyboardInterrupt:
        interrupted = True
    written = _read(path)
    paths = [path]
    try:
        for form, name in FILES.items():
            _write(out / name, _render(written, form))
            paths.append(out / name)
    except KeyboardInterrupt:
        interrupted = True
    _show(written)
    print("written:", *map(str, paths))
    if interrupted:
        _say(f"interrupted; what was checked until then is in {out}, marked as partial")
        return INTERRUPTED
    return _code(written)


def _subjects(ops: str, dtypes: Sequence[str], seed: int) -> list[tuple[str, Callable[[], Report]]]:
    """What is to be checked: labels, and what checks each. Empty where a pattern matches nothing; LookupError becomes a
    sentence where a plain name is unknown."""
    from refnn.networks.network import fixtures
    from refnn.ops import OPS, find

    names = [n for n in (*OPS, *fixtures()) if fnmatch.fnmatchcase(n, ops)]
    if not names:
        if not any(c in ops for c in "*?["):
            with _sentence(LookupError):
                find(ops)
        return []
    from refnn.checking.check import FALSE_ALARM, check
    from refnn.networks.train import with_loss
    from refnn.networks.zoo import fixture

    witness = _witness()
    options: dict[str, Any] = {
        "framework": "torch",
        "seed": seed,
        "expected_failures": _expected(witness.VERSION),
        "false_alarm": FALSE_ALARM / (len(names) * len(dtypes)),  # of the whole report
    }

    def subject(name: str, dtype: str) -> Report:
        if name in OPS:
            return check(name, witness.FUNCTIONS[name], dtype=dtype, **options)
        net = fixture(name)
        net = with_loss(net, net.about["head"])
        return check(net, witness.module(net), dtype=dtype, **options)

    return [(f"{n} {d}", functools.partial(subject, n, d)) for n in names for d in dtypes]


def _expected(version: str) -> dict[str, str]:
    """The committed expected findings of this version of PyTorch on CPU; none where there is no such file."""
    from refnn.conformance import data

    try:
        path = data("expected", f"torch-{version}-cpu.json")
    except FileNotFoundError:
        return {}
    return dict(json.loads(path.read_text())["expected"])


def _header(dtypes: Sequence[str], seed: int) -> dict[str, Any]:
    from refnn.models import default_model, model
    from refnn.report.header import environment

    models = [model(default_model(d, "torch")) for d in dtypes]
    found = environment()
    return {
        "subject": f"torch {found['torch']}" if "torch" in found else "torch",
        "dtype": ", ".join(dtypes),
        "model": ", ".join(m.name for m in models),
        "seed": seed,
        "command": shlex.join(["refnn", *sys.argv[1:]]),
        **found,
        "models": [m.describe() for m in models],
    }


def _prepare(out: Path) -> Path:
    """The path of the JSON Lines in a folder that can be written to, free of what an earlier run made."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        path = out / "report.jsonl"
        path.open("w").close()
        for name in FILES.values():
            (out / name).unlink(missing_ok=True)
    except OSError as e:
        raise Failure(f"cannot write to the folder {str(out)!r}: {e.strerror}") from e
    return path


def _run(subjects: Sequence[tuple[str, Callable[[], Report]]], path: Path, header: dict[str, Any]) -> None:
    """Check them all; each one's lines are written as soon as it is done."""
    from refnn.progress import progress
    from refnn.report.lines import Writer

    with _writing(path), Writer(path, header) as writer, progress(len(subjects)) as step:
        for label, check in subjects:
            step(label)
            try:
                part = check()
            except OSError as e:
                # Not the disk that the report is on.
                raise RuntimeError(f"checking {label} raised {type(e).__name__}: {e}") from e
            writer.add(part)


def _show(report: Report) -> None:
    """The summary as a table, then what the report has to say."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from refnn.report import summary
    from refnn.report.words import number, worst_verdict

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("op", "dtype", "of"):
        table.add_column(name)
    table.add_column("elements", justify="right")
    table.add_column("worst verdict")
    table.add_column("worst ratio", justify="right")
    table.add_column("seconds", justify="right")
    unexpected = {(f.op, f.dtype) for f in report.unexpected}
    for row in summary(report):
        worst = worst_verdict(row["verdicts"])
        strange = worst not in report.accept and worst != "out_of_scope"
        known = strange and (row["op"], row["dtype"]) not in unexpected
        table.add_row(
            Text(row["op"]),
            row["dtype"],
            row["kind"],
            f"{row['elements']:,}",
            Text(worst + (" (expected)" if known else ""), style="yellow" if known else "bold red" if strange else ""),
            number(row["worst_ratio"]),
            f"{row['seconds']:.2f}",
        )
    # A pipe has no width; what reads it must get the whole names.
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    print(f"\n{report}")


def _code(report: Report) -> int:
    if not report.elements and not report.findings:
        return NOTHING
    return CONFORMS if report.ok else DIFFERS


# --- render ----------------------------------------------------------------------------------------------------------


@app.command()
def render(
    run: Annotated[Path, typer.Argument(help="The JSON Lines of a report.")],
    to: Annotated[str, typer.Option(help="html, md, findings, junit, badge or json.")] = "html",
    out: Annotated[Path | None, typer.Option(help="The file to write, or - for standard output.")] = None,
) -> int:
    """Make another form of a report from its JSON Lines: beside them, where --out does not say otherwise."""
    if to not in SUFFIXES:
        raise Failure(f"--to is {to!r}, expected one of {', '.join(SUFFIXES)}")
    text = _render(_read(run), to)
    if str(out) == "-":
        print(text, end="")
        return CONFORMS
    path = out or run.with_suffix(SUFFIXES[to])
    _write(path, text)
    print(f"written: {path}")
    return CONFORMS


def _render(report: Report, form: str) -> str:
    if form == "json":
        from refnn.report.lines import document

        return document(report)
    if form == "badge":
        from refnn.report.badge import render

        return render(report)
    forms = {"html": report.to_html, "md": report.to_markdown, "findings": report.to_findings, "junit": report.to_junit}
    return forms[form]()


def _read(path: Path) -> Report:
    from refnn.report.lines import loads

    try:
        return loads(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise Failure(f"cannot read {str(path)!r}: {e.strerror}") from e
    except ValueError as e:  # UnicodeDecodeError too
        raise Failure(f"{str(path)!r}: {e}") from e


def _write(path: Path, text: str) -> None:
    with _writing(path):
        path.write_text(text, encoding="utf-8")


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as e:
        raise Failure(f"cannot write {str(path)!r}: {e.strerror or e}; what was written before stays") from e


# --- check -----------------------------------------------------------------------------------------------------------


@app.command()
def check(
    name: Annotated[str, typer.Argument(metavar="OP", help="An op, as `refnn ops` lists it, or a fixture network.")],
    impl: Annotated[
        str,
        typer.Option(
            metavar="IMPL",
            help="module:object: the forward f(*inputs, **params), of a network f(params, *inputs), or a mapping from "
            "names; torch; refnn; cmd:PROGRAM; lines:PROGRAM.",
        ),
    ],
    vjp: Annotated[str | None, typer.Option(metavar="MODULE:OBJECT", help="The vjp: v(g, *inputs, **params).")] = None,
    framework: Annotated[str | None, typer.Option(help="torch: the gradients come from its autograd.")] = None,
    dtype: Dtypes = None,
    case: Annotated[str | None, typer.Option(metavar="ID", help="Only this case, as a report names it.")] = None,
    seed: Seed = 0,
) -> int:
    """Check an implementation of one op or network; the current folder is importable."""
    from refnn.suite.fixture import subject

    with _sentence(LookupError):
        subject(name)
    if framework is not None and vjp is not None:
        raise Failure(f"--vjp {vjp} and --framework {framework} exclude each other: the framework gives the gradients")
    sys.path.insert(0, os.getcwd())
    codes = []
    with _functions(name, impl, vjp, framework) as given:
        dtypes: list[str | None] = [*_known(dtype or [])] or [None]
        for d in dtypes:
            found = _check(name, given, d, case, seed)
            print(found)
            codes.append(_code(found))
    return DIFFERS if DIFFERS in codes else max(codes)


@contextmanager
def _functions(name: str, impl: str, vjp: str | None, framework: str | None) -> Iterator[dict[str, Any]]:
    """What `refnn.check` is to be given for an implementation, while it is in use."""
    kind, colon, command = impl.partition(":")
    words = ("torch", "refnn") if not colon else ("cmd", "lines")
    if kind not in words:
        found = _object("--impl", impl)
        if isinstance(found, Mapping):
            yield _pair(impl, found, name)
        elif framework:
            yield {"implementation": found, "framework": framework}
        else:
            yield {"forward": found, "vjp": None if vjp is None else _object("--vjp", vjp)}
        return
    if vjp is not None or framework is not None:
        raise Failure(f"--impl {impl} gives its gradients itself: --vjp, --framework exclude it")
    if impl == "torch":
        yield _torch(name)
    elif impl == "refnn":
        from refnn.suite.run import own

        yield _pair(impl, own(), name)
    else:
        from refnn.checking.check import by_name
        from refnn.implementations.executable import Program
        from refnn.ops import OPS
        from refnn.suite.fixture import SUITE, subject

        with _sentence(ValueError), Program(command, SUITE, lines=kind == "lines") as program:
            forward, pullback = program.functions(subject(name))
            if name not in OPS:
                forward, pullback = by_name(_network(name), forward, pullback)
            yield {"forward": forward, "vjp": pullback}


def _pair(impl: str, found: Mapping[str, Any], name: str) -> dict[str, Any]:
    from refnn.suite.run import pair_of

    with _sentence(LookupError, ValueError):
        forward, vjp = pair_of(impl, found, name)
    return {"forward": forward, "vjp": vjp}


def _torch(name: str) -> dict[str, Any]:
    """PyTorch's own function, or its layers in the order of a network."""
    from refnn.ops import OPS

    witness = _witness()
    found = witness.FUNCTIONS[name] if name in OPS else witness.module(_network(name))
    return {"implementation": found, "framework": "torch"}


def _witness() -> Any:
    """What is known of PyTorch, if it is installed."""
    from refnn.checking.check import adapter_for

    with _sentence(LookupError):
        adapter_for("torch")
    return importlib.import_module("refnn.witnesses.torch")


def _network(name: str) -> Network:
    from refnn.networks.network import Network

    return Network.load(name)


def _check(name: str, given: Mapping[str, Any], dtype: str | None, case: str | None, seed: int) -> Report:
    import refnn

    with _sentence(LookupError, TypeError, ValueError):
        inputs = None if case is None else refnn.case(case)
        if inputs is not None and dtype not in (None, inputs.cotangent.dtype.name):
            from refnn.suite.make import widened

            inputs = widened(inputs, str(dtype))
        subject = name if name in refnn.ops else _network(name)
        return refnn.check(subject, dtype=dtype, inputs=inputs, seed=seed, **given)


def _object(option: str, spec: str) -> Any:
    """What `module:object` names."""
    module, _, path = spec.partition(":")
    if not module or not path:
        raise Failure(f"{option} is {spec!r}, expected module:object")
    try:
        found: Any = importlib.import_module(module)
    except Exception as e:
        raise Failure(f"{option} {spec!r}: importing {module!r} raised {type(e).__name__}: {e}") from e
    for name in path.split("."):
        if not hasattr(found, name):
            raise Failure(f"{option} {spec!r}: {getattr(found, '__name__', found)!r} has no {name!r}")
        found = getattr(found, name)
    if not callable(found) and not isinstance(found, Mapping):
        raise Failure(f"{option} {spec!r} is a {type(found).__name__}, expected something that can be called")
    return found


# --- gen, verify, export ---------------------------------------------------------------------------------------------

Families = Annotated[list[str] | None, typer.Option("--family", help="Only this family of fixtures; may be repeated.")]
OneDtype = Annotated[str | None, typer.Option("--dtype", help="The working format; by default that of the inputs.")]
Forward = Annotated[bool, typer.Option("--forward", help="Outputs only, no gradients.")]


@app.command()
def gen(
    ops: Annotated[str, typer.Argument(metavar="[OPS]", help="An op, patterns, or several with commas between.")] = "*",
    lines: Annotated[bool, typer.Option("--lines", help="Print the requests as text lines, for a program.")] = False,
    every: Annotated[bool, typer.Option("--all", help="Write the fixture files of all ops again.")] = False,
    out: Annotated[Path | None, typer.Option(help="The folder to write the files to.")] = None,
    dtype: OneDtype = None,
    family: Families = None,
    case: Annotated[str | None, typer.Option(metavar="ID", help="Only this case.")] = None,
    forward: Forward = False,
) -> int:
    """Print the fixtures as requests for a program, or write their files again."""
    selected = {"--dtype": dtype, "--family": family, "--case": case, "--forward": forward}
    if not lines:
        if out is None or (ops == "*") != every:
            raise Failure(
                "say what to make: refnn gen OP --lines, refnn gen OP --out FOLDER, refnn gen --all --out FOLDER"
            )
        if useless := [n for n, v in selected.items() if v]:
            raise Failure(f"{useless[0]} selects requests: it goes with --lines, files are written whole")
        return _write_fixtures(ops, out)
    if every or out is not None:
        raise Failure("--lines prints requests, --all and --out write fixture files: give one of them")
    from refnn.suite.pipe import Selection, requests
    from refnn.suite.read import the_suite

    with _sentence(FileNotFoundError, LookupError, ValueError):
        chosen = Selection(ops, dtype, tuple(family or ()), () if case is None else (case,), forward)
        found = requests(the_suite(), chosen)
    if len(found) == 1:
        raise _none_selected(ops, dtype, family, "printed")
    for row in found:
        print(row)
    return CONFORMS


def _write_fixtures(ops: str, out: Path) -> int:
    from refnn.ops import OPS
    from refnn.progress import progress
    from refnn.suite.fixture import networks, subject
    from refnn.suite.make import write
    from refnn.suite.run import c_kit

    patterns = ops.split(",")
    with _sentence(LookupError):
        for name in patterns:
            if not any(c in name for c in "*?["):
                subject(name)
    names = [n for n in (*OPS, *networks()) if any(fnmatch.fnmatchcase(n, p) for p in patterns)]
    if not names:
        raise Failure(f"{ops!r} matches no op and no network: nothing was written", NOTHING)
    with _writing(out), progress(len(names)) as step:
        written = write(out, () if ops == "*" else names, step)
        if ops == "*":
            written.append(c_kit.write(out))
    print(f"written: {len(written)} files in {out}")
    return CONFORMS


@app.command()
def verify(
    impl: Annotated[
        str,
        typer.Argument(
            metavar="IMPL",
            help="- for the answers to `refnn gen --lines` on standard input; else torch, module:object, cmd:PROGRAM "
            "(JSON Lines) or lines:PROGRAM (text lines).",
        ),
    ],
    ops: Annotated[str, typer.Option(metavar="GLOB", help="Only the ops whose name matches.")] = "*",
    dtype: OneDtype = None,
    family: Families = None,
    case: Annotated[list[str] | None, typer.Option(metavar="ID", help="Only this case; may be repeated.")] = None,
    forward: Forward = False,
    accept: Annotated[list[str] | None, typer.Option(help="A verdict that counts as conforming: explained.")] = None,
    xfails: Annotated[Path | None, typer.Option(help="A file of expected failures: ID  # reason.")] = None,
    min_cases: Annotated[int, typer.Option(min=1, help="Fail where fewer cases pass.")] = 1,
    timeout: Annotated[float, typer.Option(min=0.01, help="Seconds for an answer of a program.")] = 10.0,
    out: Annotated[Path | None, typer.Option(help="The report as JSON Lines.")] = None,
) -> int:
    """Run the fixtures against an implementation, or judge the answers of a program."""
    from refnn.progress import progress
    from refnn.report import VERDICTS
    from refnn.suite.read import the_suite
    from refnn.suite.run import run as suites

    if unknown := [v for v in accept or () if v not in VERDICTS]:
        raise Failure(f"--accept {unknown[0]!r} is not one of {', '.join(VERDICTS)}")
    selected = {"--ops": ops != "*", "--family": family, "--case": case, "--forward": forward}
    if impl == "-" and (useless := [n for n, v in selected.items() if v]):
        raise Failure(f"{useless[0]} selects what is asked for: it goes with refnn gen, whose comment tells verify -")
    if out is not None:
        with _writing(out):  # before anything is computed
            out.open("w").close()
    with _sentence(FileNotFoundError, LookupError, ValueError):
        fixtures = the_suite()
        expected = suites.committed(impl, fixtures) if xfails is None else suites.read_expected(xfails, fixtures)
        given: dict[str, Any] = {"accept": accept or (), "expected": expected}
        if impl == "-":
            from refnn.suite.pipe import LONGEST
            from refnn.suite.pipe import verify as judge

            rows = iter(lambda: sys.stdin.buffer.readline(LONGEST), b"")
            found = judge(fixtures, rows, dtype=dtype, **given)
        else:
            cases = suites.required(fixtures, ops, dtype, family or (), case or ())
            if not cases:
                raise _none_selected(ops, dtype, family, "checked")
            with suites.implementation(impl, timeout=timeout) as running, progress(len(cases)) as step:
                found = suites.run(running, cases, fixtures, forward=forward, step=step, **given)
    found.header["command"] = shlex.join(["refnn", *sys.argv[1:]])
    if out is not None:
        _write(out, found.to_json())
    return _verdict(found, min_cases)


def _none_selected(ops: str, dtype: str | None, family: Sequence[str] | None, done: str) -> Failure:
    words = [
        f"of {ops!r}",
        *([f"in {dtype}"] if dtype else []),
        *([f"in family {', '.join(family)}"] if family else []),
    ]
    return Failure(f"no fixture {' '.join(words)} is selected: nothing was {done}", NOTHING)


def _verdict(found: Report, min_cases: int) -> int:
    """Print what was found, every case that was not answered by its id; the exit code."""
    from refnn.suite.pipe import MISSING

    missing = [f for f in found.findings if f.message == MISSING]
    found.findings = [f for f in found.findings if f.message != MISSING] + missing
    print(found)
    for f in missing:
        print(f"not answered: {f.case}")
    if found.header.get("answered") == 0:
        _say("no answer came: nothing was checked")
        return NOTHING
    if not found.elements and not found.unexpected:
        _say("nothing was checked")
        return NOTHING
    if found.ok and found.passed < min_cases:
        _say(f"{found.passed} cases pass, expected at least {min_cases}")
        return DIFFERS
    return CONFORMS if found.ok else DIFFERS


@app.command()
def export(
    ops: Annotated[str, typer.Argument(metavar="OPS", help="An op, patterns, or several with commas between.")],
    to: Annotated[str, typer.Option(help="c-header or npz.")],
    out: Annotated[Path, typer.Option(help="The file to write, or - for standard output (c-header).")],
    dtype: OneDtype = None,
    family: Families = None,
    case: Annotated[list[str] | None, typer.Option(metavar="ID", help="Only this case; may be repeated.")] = None,
) -> int:
    """Write fixtures as a C header or as an .npz archive."""
    from refnn.suite.read import the_suite
    from refnn.suite.run import export as exports
    from refnn.suite.run import required

    if to not in exports.FORMS:
        raise Failure(f"--to is {to!r}, expected one of {', '.join(exports.FORMS)}")
    with _sentence(FileNotFoundError, LookupError, ValueError):
        fixtures = the_suite()
        cases = required(fixtures, ops, dtype, family or (), case or ())
        if not cases:
            raise _none_selected(ops, dtype, family, "written")
        content = exports.FORMS[to](cases, fixtures)
    if str(out) == "-":
        sys.stdout.buffer.write(content)
        return CONFORMS
    with _writing(out):
        out.write_bytes(content)
    print(f"written: {out} ({len(cases)} cases)")
    return CONFORMS


# --- compare ---------------------------------------------------------------------------------------------------------


@app.command()
def compare(
    before: Annotated[Path, typer.Argument(help="The JSON Lines of a report.")],
    after: Annotated[Path, typer.Argument(help="Those of a later one.")],
) -> int:
    """What changed between two runs; ends in 2 where something got worse."""
    from refnn.report.compare import compare as changes

    found = changes(_read(before), _read(after))
    print(found)
    return DIFFERS if found.worse else CONFORMS


# --- ops -------------------------------------------------------------------------------------------------------------


@app.command()
def ops() -> int:
    """List the ops with their signatures."""
    from refnn.ops import OPS

    for op in OPS.values():
        title = (sys.modules[op.forward.__module__].__doc__ or "").strip().partition("\n")[0]
        print(f"{op!r}\n    {title}")
    return CONFORMS


# --- limits ----------------------------------------------------------------------------------------------------------


@app.command()
def limits(
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", help="A format, or a model such as float32-ftz or float16-each-op; may be repeated."),
    ] = None,
    against: Annotated[str | None, typer.Option(help="torch: measure its edges and show them beside.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of a table.")] = False,
) -> int:
    """Where exp, softmax and their relatives overflow, vanish or lose every digit: certified, to the bit."""
    from refnn.limits.rules import edges

    models = list(dict.fromkeys(formats or ["float32"]))
    with _sentence(ValueError):
        certified = {name: edges(name) for name in models}
    measured = {name: {} if against is None else _measured(against, name) for name in models}
    if as_json:
        print(_limits_json(certified, measured, against))
        return CONFORMS
    for name, found in certified.items():
        _show_limits(name, found, measured[name])
    return CONFORMS


def _measured(framework: str, name: str) -> dict[str, dict[str, tuple[float, float]]]:
    from refnn.checking.check import adapter_for
    from refnn.models import model

    with _sentence(LookupError):
        adapter_for(framework)
    rules = model(name)
    return dict(importlib.import_module("refnn.witnesses.limits").every(rules.storage.name, flush=rules.flush))


def _limits_json(certified: dict[str, Any], measured: dict[str, Any], against: str | None) -> str:
    from refnn.limits.rules import describe, ulps
    from refnn.models import model
    from refnn.report.header import environment

    document: dict[str, Any] = {"limits": {}}
    if against is not None:
        found = environment()
        document = {"against": f"{against} {found[against]}", "cpu": found["cpu"], **document}
    for name, every in certified.items():
        dtype = model(name).storage.name
        document["limits"][name] = [describe(e) for e in every]
        if against is None:
            continue
        for e, described in zip(every, document["limits"][name], strict=True):
            described["measured"] = {
                layout: {"last": last.hex(), "next": after.hex(), "ulps": ulps(dtype, last, e)}
                for layout, (last, after) in measured[name].get(e.name, {}).items()
            }
    return json.dumps(document, indent=1)


def _show_limits(name: str, found: Sequence[Any], measured: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from refnn.limits.rules import ulps
    from refnn.models import model

    rules = model(name)
    fmt = rules.storage
    title = f"{name}: stored in {fmt.name}, computed in {rules.compute.name}{', flushed to zero' * rules.flush}"
    table = Table(title=title, box=None, pad_edge=False, header_style="bold", title_justify="left")
    for column in ("what holds", "up to x", "next number", "grey zone"):
        table.add_column(column, justify="left" if column == "what holds" else "right")
    layouts = list(next(iter(measured.values()), {}))
    for layout in layouts:
        table.add_column(f"torch, {layout}", justify="right")
    for e in found:
        after = "" if abs(e.next) > fmt.max else fmt.shortest(e.next)
        grey = "" if e.grey is None else " to ".join(dict.fromkeys(map(fmt.shortest, e.grey)))
        theirs = []
        for layout in layouts:
            last = measured.get(e.name, {}).get(layout, (None,))[0]
            theirs.append("" if last is None else f"{fmt.shortest(last)} ({ulps(fmt.name, last, e):+,} ulp)")
        table.add_row(Text(e.sentence), fmt.shortest(e.last), after, grey, *theirs)
    Console(width=None if sys.stdout.isatty() else 240).print(table)


# --- power -----------------------------------------------------------------------------------------------------------


@app.command()
def power(
    ops: Annotated[str, typer.Option(metavar="GLOB", help="Only mutants of the ops whose name matches.")] = "*",
    checker: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="refnn, a baseline, or MODULE:FUNCTION of (op, forward, vjp, dtype), which raises or returns False to "
            "object; may be repeated. All of refnn's own if not given.",
        ),
    ] = None,
) -> int:
    """How many wrong-on-purpose implementations a checker catches, and how many right ones it objects to.

    Prints a page of Markdown. Ends in 0 where the first checker catches all of them and objects to nothing right.
    """
    from refnn.progress import progress
    from refnn.study.power.catalogue import MUTANTS
    from refnn.study.power.page import lines
    from refnn.study.power.score import run, steps

    checkers = _checkers(checker)
    mutants = [m for m in MUTANTS if fnmatch.fnmatchcase(m.op, ops)]
    if not mutants:
        raise Failure(f"--ops {ops!r} matches no mutant: nothing was checked", NOTHING)
    with progress(steps(mutants)) as step:
        score = run(mutants, checkers, step)
    for line in lines(score):
        print(line)
    first = next(iter(score.tallies.values()))
    return CONFORMS if not first.false_alarms and set(score.wrong()) <= first.killed else DIFFERS


def _checkers(names: list[str] | None) -> dict[str, Callable[..., Any]]:
    """The checkers of these names; functions are imported, the current folder first."""
    from refnn.study.power import score

    with _sentence(ImportError):
        baselines = importlib.import_module("refnn.study.power.baselines").BASELINES
    known = {"refnn": score.refnn, **baselines}
    sys.path.insert(0, os.getcwd())
    for name in names or ():
        if name not in known and ":" not in name:
            raise Failure(f"--checker is {name!r}, expected module:function or one of {', '.join(known)}")
    return {n: known[n] if n in known else _object("--checker", n) for n in names or known}


# --- what the commands share -----------------------------------------------------------------------------------------


def _known(dtypes: Sequence[str]) -> list[str]:
    from refnn.formats import FORMATS

    for name in dtypes:
        if name not in FORMATS:
            raise Failure(f"--dtype {name!r} is not one of {', '.join(FORMATS)}")
    return list(dict.fromkeys(dtypes))


@contextmanager
def _sentence(*kinds: type[Exception]) -> Iterator[None]:
    """An exception of these kinds says what is wrong with the call: its message is enough."""
    try:
        yield
    except kinds as e:
        raise Failure(str(e.args[0]) if e.args else str(e)) from e


if __name__ == "__main__":
    sys.exit(main())
