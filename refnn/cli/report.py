"""`refnn report` and `refnn render`."""

from __future__ import annotations

import fnmatch
import functools
import importlib
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from refnn.report import Report
from refnn.cli.app import (
    CONFORMS,
    INTERRUPTED,
    NOTHING,
    Dtypes,
    Failure,
    Seed,
    app,
    exit_status,
    known_dtypes,
    read_report,
    say,
    sentence,
    show,
    write,
    writing,
)
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


@app.command()
def report(
    ops: Annotated[str, typer.Option(metavar="GLOB", help="Only the ops and networks whose name matches.")] = "*",
    dtype: Dtypes = None,
    seed: Seed = 0,
    out: Annotated[Path, typer.Option(help="The folder to write to.")] = Path("refnn-report"),
) -> int:
    """Check PyTorch and write report.jsonl, report.html, report.md, findings.md and junit.xml."""
    dtypes = known_dtypes(dtype or ["float32", "float64"])
    with needed_by("refnn report"):  # said before the minutes that the checks take, and not after them
        for name in ("jinja2", "rich"):
            importlib.import_module(name)
    subjects = _subjects(ops, dtypes, seed)
    if not subjects:
        raise Failure(f"--ops {ops!r} matches no op and no network: nothing was checked", NOTHING)
    path = _prepare(out)
    interrupted = False
    try:
        _run(subjects, path, _header(dtypes, seed))
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
    show(written)
    print("written:", *map(str, paths))
    if interrupted:
        say(f"interrupted; {out} has what was checked before, marked as partial")
        return INTERRUPTED
    return exit_status(written)


def _subjects(ops: str, dtypes: Sequence[str], seed: int) -> list[tuple[str, Callable[[], Report]]]:
    """The labels of what is to be checked, each with the function that checks it. The list is empty if a pattern
    matches nothing. Failure names an unknown op."""
    from refnn.networks.network import fixtures
    from refnn.ops import OPS, find

    names = [n for n in (*OPS, *fixtures()) if fnmatch.fnmatchcase(n, ops)]
    if not names:
        if not any(c in ops for c in "*?["):
            with sentence(LookupError):
                find(ops)
        return []
    from refnn.checking.check import FALSE_ALARM, check
    from refnn.networks.train import with_loss
    from refnn.networks.zoo import fixture
    from refnn.witnesses import torch_witness

    with sentence(LookupError):
        witness = torch_witness()
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
    """The committed expected findings of this version of PyTorch on CPU; none if there is no file of them."""
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
        for label, check in subjects:
            step(label)
            try:
                part = check()
            except OSError as e:
                # Not the disk that the report is on.
                raise RuntimeError(f"checking {label} raised {type(e).__name__}: {e}") from e
            writer.add(part)


# --- render ----------------------------------------------------------------------------------------------------------


@app.command()
def render(
    run: Annotated[Path, typer.Argument(help="A report as JSON Lines.")],
    to: Annotated[str, typer.Option(help="html, md, findings, junit, badge or json.")] = "html",
    out: Annotated[Path | None, typer.Option(help="The file to write, or - for standard output.")] = None,
) -> int:
    """Make another form of a report from its JSON Lines. By default the new file lies beside them."""
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
