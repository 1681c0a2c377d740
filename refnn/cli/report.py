"""`refnn report` and `refnn render`."""

from __future__ import annotations

import fnmatch
import functools
import importlib
import itertools
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from refnn.implementations.framework import Framework
    from refnn.report import Report
from refnn.cli.app import (
    CONFORMS,
    INTERRUPTED,
    NOTHING,
    AsJson,
    Dtypes,
    Failure,
    Seed,
    app,
    example,
    exit_status,
    known_dtypes,
    print_json,
    read_report,
    say,
    sentence,
    show,
    write,
    writing,
)
from refnn.conformance import expected
from refnn.refusals import needed_by

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


# --- report ----------------------------------------------------------------------------------------------------------


@app.command(epilog=example("refnn report", "refnn report --ops '*softmax' --dtype bfloat16 --out softmax-report"))
def report(
    ops: Annotated[str, typer.Option(metavar="GLOB", help="Only the ops and networks whose name matches.")] = "*",
    framework: Annotated[str, typer.Option(metavar="NAME", help="What is checked: one of refnn doctor's.")] = "torch",
    dtype: Dtypes = None,
    seed: Seed = 0,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="The folder to write to.")] = Path("refnn-report"),
    as_json: AsJson = False,
) -> int:
    """Check a framework on all ops and networks.

    Writes report.jsonl, report.html, report.md, findings.md and junit.xml. On a terminal each op has a line as soon as
    it is checked.
    """
    dtypes = known_dtypes(dtype or ["float32", "float64"])
    with needed_by("refnn report"):  # said before the minutes that the checks take, and not after them
        for name in ("jinja2", "rich"):
            importlib.import_module(name)
    from refnn.implementations import adapter_for

    with sentence(LookupError):
        adapter = adapter_for(framework)
    subjects = _subjects(ops, dtypes, seed, adapter)
    if not subjects:
        raise Failure(f"--ops {ops!r} matches no op and no network of {framework}: nothing was checked", NOTHING)
    path = _prepare(out)
    interrupted = False
    try:
        _run(subjects, path, _header(adapter, dtypes, seed))
    except KeyboardInterrupt:
        interrupted = True
    written = read_report(path)
    paths = [path]
    try:
        for form, name in FILES.items():
            write(out / name, _render(written, form))
            paths.append(out / name)
    except KeyboardInterrupt:
        interrupted = True
    if as_json:
        from refnn.report.lines import described

        print_json("report", {**described(written), "written": [str(p) for p in paths]})
    else:
        show(written)
        print("written:", *map(str, paths))
    if interrupted:
        say(f"interrupted; {out} has what was checked before, marked as partial")
        return INTERRUPTED
    return exit_status(written)


def _subjects(ops: str, dtypes: Sequence[str], seed: int, adapter: Framework) -> list[tuple[str, Callable[[], Report]]]:
    """The labels of what is to be checked, each with the function that checks it. The list is empty if a pattern
    matches nothing. Failure names an unknown op."""
    from refnn.networks.network import fixtures
    from refnn.ops import OPS, find

    offered = [*(n for n in OPS if n in adapter.ops), *(fixtures() if adapter.module else ())]
    names = [n for n in offered if fnmatch.fnmatchcase(n, ops)]
    if not names:
        if not any(c in ops for c in "*?["):
            with sentence(LookupError):
                find(ops)
        return []
    from refnn.checking.check import FALSE_ALARM, check
    from refnn.networks.train import with_loss
    from refnn.networks.zoo import fixture

    options: dict[str, Any] = {
        "framework": adapter.name,
        "seed": seed,
        "expected_failures": expected(adapter.name, adapter.version),
        "false_alarm": FALSE_ALARM / (len(names) * len(dtypes)),  # of the whole report
    }

    def subject(name: str, dtype: str) -> Report:
        if name in OPS:
            return check(name, adapter.ops[name], dtype=dtype, **options)
        net = fixture(name)
        net = with_loss(net, net.about["head"])
        assert adapter.module is not None
        return check(net, adapter.module(net), dtype=dtype, **options)

    return [(f"{n} {d}", functools.partial(subject, n, d)) for n in names for d in dtypes]


def _header(adapter: Framework, dtypes: Sequence[str], seed: int) -> dict[str, Any]:
    from refnn.models import model
    from refnn.report.header import environment

    models = [model(adapter.model(d)) for d in dtypes]
    found = environment()
    return {
        "subject": f"{adapter.name} {found.get(adapter.name, adapter.version)}",
        "dtype": ", ".join(dtypes),
        "model": ", ".join(m.name for m in models),
        "seed": seed,
        "command": shlex.join(["refnn", *sys.argv[1:]]),
        **found,
        "models": [m.describe() for m in models],
    }


def _prepare(out: Path) -> Path:
    """The path of the JSON Lines, in a folder without the files of an earlier run. Failure says why the folder cannot
    be written to."""
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
    """Check all of them, and write the lines of each as soon as it is done."""
    from refnn.progress import progress
    from refnn.report.lines import Writer

    with writing(path), Writer(path, header) as writer, progress(len(subjects)) as step:
        for name, group in itertools.groupby(subjects, key=lambda s: s[0].partition(" ")[0]):
            parts = []
            for label, check in group:
                step(label)
                try:
                    part = check()
                except OSError as e:
                    # Not the disk that the report is on.
                    raise RuntimeError(f"checking {label} raised {type(e).__name__}: {e}") from e
                writer.add(part)
                parts.append(part)
            step("", live(name, parts))


def live(name: str, parts: Sequence[Report]) -> str:
    """The line of an op that was checked: of each dtype the outcome, and how long it took.

    >>> from refnn.report import Report, Result
    >>> one = Result("a", "relu", "float32", "normal", "output", {"ok": 3, "violation": 1}, seconds=0.25)
    >>> live("relu", [Report({"dtype": "float32"}, [one])])
    'relu                 float32 1 violation                                  0.2 s'
    """
    from refnn.report import CONFORMING, VERDICTS

    told = []
    for part in parts:
        wrong = [f"{n:,} {v}" for v in VERDICTS if v not in CONFORMING and (n := part.count(v))]
        known = " (expected)" if wrong and part.ok else ""
        outcome = ", ".join(wrong) or ("ok" if part.ok else "nothing was checked" if not part.elements else "not ok")
        told.append(f"{part.header.get('dtype', '')} {outcome}{known}")
    seconds = sum(r.seconds for part in parts for r in part.results)
    return f"{name:20} {'; '.join(told):45} {seconds:7.1f} s"


# --- render ----------------------------------------------------------------------------------------------------------


@app.command(epilog=example("refnn render run.jsonl --to md --out -"))
def render(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A report as JSON Lines.")],
    to: Annotated[str, typer.Option(metavar="FORM", help="html, md, findings, junit, badge or json.")] = "html",
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="The file, or - for standard output.")] = None,
) -> int:
    """Make another form of a report from its JSON Lines.

    By default the new file lies beside them.
    """
    if to not in SUFFIXES:
        raise Failure(f"--to is {to!r}, expected one of {', '.join(SUFFIXES)}")
    text = _render(read_report(run), to)
    if str(out) == "-":
        print(text, end="")
        return CONFORMS
    path = out or run.with_suffix(SUFFIXES[to])
    write(path, text)
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
