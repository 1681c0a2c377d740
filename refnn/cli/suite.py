"""`refnn gen`, `refnn verify` and `refnn export`."""

from __future__ import annotations

import fnmatch
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from refnn.report import Report
from refnn.cli.app import CONFORMS, DIFFERS, NOTHING, Failure, app, say, sentence, write, writing

# --- gen, verify, export ---------------------------------------------------------------------------------------------

Families = Annotated[list[str] | None, typer.Option("--family", help="Only this family of fixtures; may be repeated.")]
OneDtype = Annotated[
    str | None, typer.Option("--dtype", help="The working format; by default the format of the inputs.")
]
Forward = Annotated[bool, typer.Option("--forward", help="Only outputs, no gradients.")]


@app.command()
def gen(
    ops: Annotated[
        str, typer.Argument(metavar="[OPS]", help="An op, a pattern, or several separated by commas.")
    ] = "*",
    lines: Annotated[bool, typer.Option("--lines", help="Print the requests as text lines for a program.")] = False,
    every: Annotated[bool, typer.Option("--all", help="Write the fixture files of all ops.")] = False,
    out: Annotated[Path | None, typer.Option(help="The folder for the files.")] = None,
    dtype: OneDtype = None,
    family: Families = None,
    case: Annotated[str | None, typer.Option(metavar="ID", help="Only this case.")] = None,
    forward: Forward = False,
) -> int:
    """Print the fixtures as requests for a program, or make their files again."""
    selected = {"--dtype": dtype, "--family": family, "--case": case, "--forward": forward}
    if not lines:
        if out is None or (ops == "*") != every:
            raise Failure(
                "expected one of: refnn gen OP --lines, refnn gen OP --out FOLDER, refnn gen --all --out FOLDER"
            )
        if useless := [n for n, v in selected.items() if v]:
            raise Failure(f"{useless[0]} selects requests, so it needs --lines: fixture files are always written whole")
        return _write_fixtures(ops, out)
    if every or out is not None:
        raise Failure("--lines prints requests, and --all and --out write fixture files: they do not go together")
    from refnn.suite.pipe import Selection, requests
    from refnn.suite.read import the_suite

    with sentence(FileNotFoundError, LookupError, ValueError):
        chosen = Selection(ops, dtype, tuple(family or ()), () if case is None else (case,), forward)
        found = requests(the_suite(), chosen)
    if len(found) == 1:
        raise _none_selected(ops, dtype, family, "printed")
    for row in found:
        print(row)
    return CONFORMS


def _write_fixtures(ops: str, out: Path) -> int:
    from refnn.networks.network import fixtures, subject
    from refnn.ops import OPS
    from refnn.progress import progress
    from refnn.suite import c_kit
    from refnn.suite.make import write

    patterns = ops.split(",")
    with sentence(LookupError):
        for name in patterns:
            if not any(c in name for c in "*?["):
                subject(name)
    names = [n for n in (*OPS, *fixtures()) if any(fnmatch.fnmatchcase(n, p) for p in patterns)]
    if not names:
        raise Failure(f"{ops!r} matches no op and no network: nothing was written", NOTHING)
    with writing(out), progress(len(names)) as step:
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
            help="The implementation: torch, refnn, module:object, cmd:PROGRAM (JSON Lines) or lines:PROGRAM (text "
            "lines). Or -, to read answers to `refnn gen --lines` from standard input.",
        ),
    ],
    ops: Annotated[str, typer.Option(metavar="GLOB", help="Only the ops whose name matches.")] = "*",
    dtype: OneDtype = None,
    family: Families = None,
    case: Annotated[list[str] | None, typer.Option(metavar="ID", help="Only this case; may be repeated.")] = None,
    forward: Forward = False,
    accept: Annotated[
        list[str] | None,
        typer.Option(help="A verdict that counts as conforming, for example explained; may be repeated."),
    ] = None,
    xfails: Annotated[
        Path | None, typer.Option(help="A file of expected failures, one line each: ID  # reason.")
    ] = None,
    min_cases: Annotated[int, typer.Option(min=1, help="Fail if fewer cases pass.")] = 1,
    timeout: Annotated[float, typer.Option(min=0.01, help="How many seconds a program has for one answer.")] = 10.0,
    out: Annotated[Path | None, typer.Option(help="Write the report to this file, as JSON Lines.")] = None,
) -> int:
    """Run the fixtures against an implementation, or judge the answers of a program."""
    from refnn.progress import progress
    from refnn.report import VERDICTS
    from refnn.suite import run as suites
    from refnn.suite.read import the_suite

    if unknown := [v for v in accept or () if v not in VERDICTS]:
        raise Failure(f"--accept {unknown[0]!r} is not one of {', '.join(VERDICTS)}")
    selected = {"--ops": ops != "*", "--family": family, "--case": case, "--forward": forward}
    if impl == "-" and (useless := [n for n, v in selected.items() if v]):
        raise Failure(
            f"{useless[0]} selects requests: give it to refnn gen, whose first line tells verify - the selection"
        )
    if out is not None:
        with writing(out):  # before anything is computed
            out.open("w").close()
    with sentence(FileNotFoundError, LookupError, ValueError):
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
        write(out, found.to_json())
    return _verdict(found, min_cases)


def _none_selected(ops: str, dtype: str | None, family: Sequence[str] | None, done: str) -> Failure:
    words = [
        f"of {ops!r}",
        *([f"in {dtype}"] if dtype else []),
        *([f"in family {', '.join(family)}"] if family else []),
    ]
    return Failure(f"no fixture {' '.join(words)} is selected: nothing was {done}", NOTHING)


def _verdict(found: Report, min_cases: int) -> int:
    """Print the report and the id of every case without an answer, and return the exit status."""
    from refnn.suite.pipe import MISSING

    missing = [f for f in found.findings if f.message == MISSING]
    found.findings = [f for f in found.findings if f.message != MISSING] + missing
    print(found)
    for f in missing:
        print(f"not answered: {f.case}")
    if found.header.get("answered") == 0:
        say("no answer came: nothing was checked")
        return NOTHING
    if not found.elements and not found.unexpected:
        say("nothing was checked")
        return NOTHING
    if found.ok and found.passed < min_cases:
        say(f"{found.passed} cases pass, expected at least {min_cases}")
        return DIFFERS
    return CONFORMS if found.ok else DIFFERS


@app.command()
def export(
    ops: Annotated[str, typer.Argument(metavar="OPS", help="An op, a pattern, or several separated by commas.")],
    to: Annotated[str, typer.Option(help="c-header or npz.")],
    out: Annotated[Path, typer.Option(help="The file to write, or - for standard output.")],
    dtype: OneDtype = None,
    family: Families = None,
    case: Annotated[list[str] | None, typer.Option(metavar="ID", help="Only this case; may be repeated.")] = None,
) -> int:
    """Write fixtures as a C header or as an .npz archive."""
    from refnn.suite import export as exports
    from refnn.suite.read import the_suite
    from refnn.suite.run import required

    if to not in exports.FORMS:
        raise Failure(f"--to is {to!r}, expected one of {', '.join(exports.FORMS)}")
    with sentence(FileNotFoundError, LookupError, ValueError):
        fixtures = the_suite()
        cases = required(fixtures, ops, dtype, family or (), case or ())
        if not cases:
            raise _none_selected(ops, dtype, family, "written")
        content = exports.FORMS[to](cases, fixtures)
    if str(out) == "-":
        sys.stdout.buffer.write(content)
        return CONFORMS
    with writing(out):
        out.write_bytes(content)
    print(f"written: {out} ({len(cases)} cases)")
    return CONFORMS
