"""The command `refnn`: report, render, check, ops, limits.

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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from refnn.report import Report

CONFORMS, FAILED, DIFFERS, NOTHING, INTERRUPTED = 0, 1, 2, 3, 130
FILES = {
    "html": "report.html",
    "md": "report.md",
    "findings": "findings.md",
    "junit": "junit.xml",
}  # made from report.jsonl
SUFFIXES = {"html": ".html", "md": ".md", "findings": ".findings.md", "junit": ".xml", "json": ".json"}

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
    from refnn.network import Network, fixtures
    from refnn.ops import OPS, find

    names = [n for n in (*OPS, *fixtures()) if fnmatch.fnmatchcase(n, ops)]
    if not names:
        if not any(c in ops for c in "*?["):
            with _sentence(LookupError):
                find(ops)
        return []
    from refnn.check import FALSE_ALARM, check
    from refnn.train import with_loss

    with _sentence(ImportError):
        witness = importlib.import_module("refnn.witnesses.torch")
    options: dict[str, Any] = {
        "framework": "torch",
        "seed": seed,
        "expected_failures": _expected(witness.VERSION),
        "false_alarm": FALSE_ALARM / (len(names) * len(dtypes)),  # of the whole report
    }

    def subject(name: str, dtype: str) -> Report:
        if name in OPS:
            return check(name, witness.FUNCTIONS[name], dtype=dtype, **options)
        net = Network.load(name)
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
    to: Annotated[str, typer.Option(help="html, md, findings, junit or json.")] = "html",
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
    op: Annotated[str, typer.Argument(help="The name of the op, as `refnn ops` lists it.")],
    impl: Annotated[str, typer.Option(metavar="MODULE:OBJECT", help="The forward: f(*inputs, **params).")],
    vjp: Annotated[str | None, typer.Option(metavar="MODULE:OBJECT", help="The vjp: v(g, *inputs, **params).")] = None,
    framework: Annotated[str | None, typer.Option(help="torch: the gradients come from its autograd.")] = None,
    dtype: Dtypes = None,
    case: Annotated[str | None, typer.Option(metavar="ID", help="Only this case, as a report names it.")] = None,
    seed: Seed = 0,
) -> int:
    """Check an implementation of one op; the current folder is importable."""
    from refnn.ops import find

    with _sentence(LookupError):
        find(op)
    if framework is not None and vjp is not None:
        raise Failure(f"--vjp {vjp} and --framework {framework} exclude each other: the framework gives the gradients")
    sys.path.insert(0, os.getcwd())
    forward = _object("--impl", impl)
    pullback = None if vjp is None else _object("--vjp", vjp)
    given: list[str | None] = [*_known(dtype or [])] or [None]
    codes = []
    for d in given:
        found = _check(op, forward, pullback, framework, d, case, seed)
        print(found)
        codes.append(_code(found))
    return DIFFERS if DIFFERS in codes else max(codes)


def _check(
    op: str, forward: Any, vjp: Any, framework: str | None, dtype: str | None, case: str | None, seed: int
) -> Report:
    import refnn

    given = {"framework": framework} if framework else {"forward": forward, "vjp": vjp}
    with _sentence(LookupError, TypeError, ValueError):
        inputs = None if case is None else refnn.case(case)
        return refnn.check(op, *([forward] if framework else []), **given, dtype=dtype, inputs=inputs, seed=seed)


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
    if not callable(found):
        raise Failure(f"{option} {spec!r} is a {type(found).__name__}, expected something that can be called")
    return found


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
    from refnn.limits import edges

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
    from refnn.check import adapter_for
    from refnn.models import model

    with _sentence(LookupError):
        adapter_for(framework)
    rules = model(name)
    return dict(importlib.import_module("refnn.witnesses.limits").every(rules.storage.name, flush=rules.flush))


def _limits_json(certified: dict[str, Any], measured: dict[str, Any], against: str | None) -> str:
    from refnn.limits import describe, ulps
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

    from refnn.limits import ulps
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
