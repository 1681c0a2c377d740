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
from refnn.cli.app import (
    CONFORMS,
    DIFFERS,
    NOTHING,
    Accept,
    Algorithm,
    AsJson,
    Failure,
    ModelName,
    ProfileName,
    Xfails,
    app,
    example,
    print_json,
    say,
    sentence,
    tell,
    write,
    writing,
)
from refnn.cli.selection import Wheres, Without

# --- gen, verify, export ---------------------------------------------------------------------------------------------

Families = Annotated[
    list[str] | None,
    typer.Option("--family", "--families", metavar="NAME", help="Only these families of fixtures."),
]
OneDtype = Annotated[
    str | None, typer.Option("--dtype", metavar="DTYPE", help="The working format, if not that of the inputs.")
]
Forward = Annotated[bool, typer.Option("--forward", help="Only outputs, no gradients.")]


@app.command(
    epilog=example(
        "refnn gen 'linear,softmax' --lines --dtype float32 | ./mynn | refnn verify -",
        "refnn gen softmax --out fixtures",
    )
)
def gen(
    ops: Annotated[str, typer.Argument(metavar="OPS", help="An op, a pattern, or several separated by commas.")] = "*",
    lines: Annotated[bool, typer.Option("--lines", help="Print requests as text lines for a program.")] = False,
    every: Annotated[bool, typer.Option("--all", help="Write the fixture files of all ops.")] = False,
    out: Annotated[Path | None, typer.Option(metavar="FOLDER", help="The folder for the files.")] = None,
    dtype: OneDtype = None,
    family: Families = None,
    case: Annotated[str | None, typer.Option(metavar="ID", help="Only this case.")] = None,
    forward: Forward = False,
) -> int:
    """Print the fixtures as requests, or make their files."""
    family = _listed(family)
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


@app.command(
    epilog=example(
        "refnn verify torch --ops softmax --json",
        "refnn verify mine:impl --model float32-ftz --xfails known.txt",
    )
)
def verify(
    impl: Annotated[
        str,
        typer.Argument(
            metavar="IMPL",
            help="torch, refnn, module:object, cmd:PROGRAM (JSON Lines) or lines:PROGRAM (text lines). Or -: answers "
            "to `refnn gen --lines` from standard input.",
        ),
    ],
    ops: Annotated[str, typer.Option(metavar="GLOB", help="Only the ops whose name matches.")] = "*",
    dtype: OneDtype = None,
    family: Families = None,
    case: Annotated[list[str] | None, typer.Option(metavar="ID", help="Only this case; may be repeated.")] = None,
    where: Wheres = None,
    without: Without = "",
    forward: Forward = False,
    model: ModelName = None,
    algorithm: Algorithm = "accurate",
    profile: ProfileName = "framework",
    accept: Accept = None,
    xfails: Xfails = None,
    min_cases: Annotated[int, typer.Option(min=1, metavar="N", help="Fail if fewer cases pass.")] = 1,
    timeout: Annotated[
        float, typer.Option(min=0.01, metavar="S", help="Seconds that a program has for an answer.")
    ] = 10.0,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the report there, as JSON Lines.")] = None,
    as_json: AsJson = False,
) -> int:
    """Run the fixtures against an implementation.

    Without --model and --algorithm the bounds of the fixtures judge, with them the oracle does.
    """
    from refnn.progress import progress
    from refnn.suite import run as suites
    from refnn.suite.options import listed, options
    from refnn.suite.read import the_suite

    family = _listed(family)
    with sentence(LookupError, ValueError):
        judging = options(
            accept=listed(accept or ()),
            model_=model,
            algorithm=algorithm,
            where=where or (),
            without=without,
            profile=profile,
        )
    selected = {"--ops": ops != "*", "--family": family, "--case": case, "--forward": forward}
    selected |= {"--where": where, "--without": without}
    if impl == "-" and (useless := [n for n, v in selected.items() if v]):
        raise Failure(
            f"{useless[0]} selects requests: give it to refnn gen, whose first line tells verify - the selection"
        )
    if out is not None:
        with writing(out):  # before anything is computed
            out.open("w").close()
    with sentence(FileNotFoundError, LookupError, TypeError, ValueError):
        fixtures = the_suite()
        expected = suites.committed(impl, fixtures) if xfails is None else suites.read_expected(xfails, fixtures)
        given: dict[str, Any] = {"options": judging, "expected": expected}
        if impl == "-":
            from refnn.suite.pipe import LONGEST
            from refnn.suite.pipe import verify as judge

            rows = iter(lambda: sys.stdin.buffer.readline(LONGEST), b"")
            found = judge(fixtures, rows, dtype=dtype, **given)
        else:
            dtype = judging.dtype(dtype)
            cases = judging.chosen(suites.required(fixtures, ops, dtype, family or (), case or ()))
            if not cases:
                raise _none_selected(ops, dtype, family, "checked")
            with suites.implementation(impl, timeout=timeout) as running, progress(len(cases)) as step:
                found = suites.run(running, cases, fixtures, forward=forward, step=step, **given)
    found.header["command"] = shlex.join(["refnn", *sys.argv[1:]])
    if out is not None:
        write(out, found.to_json())
    return _verdict(found, min_cases, as_json=as_json)


def _listed(given: Sequence[str] | None) -> list[str]:
    from refnn.suite.options import listed

    return listed(given or ())


def _none_selected(ops: str, dtype: str | None, family: Sequence[str] | None, done: str) -> Failure:
    words = [
        f"of {ops!r}",
        *([f"in {dtype}"] if dtype else []),
        *([f"in family {', '.join(family)}"] if family else []),
    ]
    return Failure(f"no fixture {' '.join(words)} is selected: nothing was {done}", NOTHING)


def _verdict(found: Report, min_cases: int, *, as_json: bool) -> int:
    """Print the report and the id of every case without an answer, and return the exit status."""
    from refnn.suite.pipe import MISSING

    missing = [f for f in found.findings if f.message == MISSING]
    found.findings = [f for f in found.findings if f.message != MISSING] + missing
    if as_json:
        from refnn.report.lines import described

        print_json("verify", described(found))
    else:
        tell(str(found))
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


@app.command(epilog=example("refnn export softmax --to c-header --out cases.h --dtype float32"))
def export(
    ops: Annotated[str, typer.Argument(metavar="OPS", help="An op, a pattern, or several separated by commas.")],
    to: Annotated[str, typer.Option(metavar="FORM", help="c-header or npz.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The file to write, or - for standard output.")],
    dtype: OneDtype = None,
    family: Families = None,
    case: Annotated[list[str] | None, typer.Option(metavar="ID", help="Only this case; may be repeated.")] = None,
) -> int:
    """Write fixtures as a C header or an .npz archive."""
    family = _listed(family)
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
