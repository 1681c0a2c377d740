"""Running the fixtures against an implementation, by the rule of conformance/FORMAT.md.

What an implementation is called stands in `refnn.implementations.spec`.
"""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from refnn.checking.check import of_dicts
from refnn.conformance import data
from refnn.formats import FORMATS
from refnn.implementations import adapter_for, known
from refnn.implementations.executable import TIMEOUT, Program
from refnn.implementations.protocol import Answer, Request
from refnn.implementations.spec import Functions, parse
from refnn.judging.call import call
from refnn.judging.case import Case
from refnn.judging.check_case import check_case
from refnn.judging.groups import groups
from refnn.judging.tally import Place, Tally
from refnn.models import VERSION, model
from refnn.networks.network import Network, subject
from refnn.ops import OPS, find
from refnn.report import OUTPUTS, Finding, Report, Result
from refnn.report.header import environment
from refnn.suite.fixture import SUITE, Fixture, request
from refnn.suite.options import Options, as_planned
from refnn.suite.read import Suite
from refnn.suite.rule import judge

# Of the name of an op or network, and of the case that it is asked for: frameworks run a network as a whole.
Find = Callable[[str, Case | None], Functions | None]


# --- implementations -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Implementation:
    """Something that answers requests. `spec` is what `--impl` calls it, and `about` goes into the header of a report.
    `forward_only` says whether it has no gradients of an op."""

    spec: str
    name: str
    about: Mapping[str, Any]
    answer: Callable[[Request], Answer]
    forward_only: Callable[[str], bool]


@contextmanager
def implementation(spec: str, *, timeout: float = TIMEOUT) -> Iterator[Implementation]:
    """The implementation of that name, while it is in use. ValueError or LookupError says why there is none."""
    given = parse(spec)
    if given.kind == "framework":
        yield _of_framework(spec)
    elif given.kind == "mapping":
        yield of_mapping(spec, given.value)
    else:
        with Program(given.value, SUITE, lines=given.kind == "lines", timeout=timeout) as program:
            about = {"implementation": dict(program.impl), "program": spec}
            yield Implementation(spec, str(program.impl["name"]), about, program.run, program.forward_only)


def _of_functions(name: str, about: Mapping[str, Any], functions: Find) -> Implementation:
    def answer(r: Request) -> Answer:
        """The results of its functions for fresh copies of the arrays, and what they do wrong."""
        case = Case(r.id, subject(r.op), tuple(r.inputs.values()), r.attrs, r.cotangent, "", random=False)
        pair = functions(r.op, case)
        if pair is None:
            return Answer(skip=f"{name} has no {r.op}")
        got, complaints, skipped = call(pair[0], pair[1] if len(r.wants) > 1 else None, case)
        skip = None if skipped is None else str(skipped) or ", ".join(groups(case)) or "ordinary input"
        names = ["y", *(f"d/{n}" for n in r.inputs)]
        results = {n: x for n, x in zip(names, got, strict=True) if x is not None and n in r.wants}
        return Answer(results, skip, tuple(f"{what}: {message}" for what, message in complaints))

    def forward_only(op: str) -> bool:
        pair = functions(op, None)
        return pair is not None and pair[1] is None

    return Implementation(name, name, about, answer, forward_only)


def _of_framework(name: str) -> Implementation:
    adapter = adapter_for(name)

    def functions(op: str, case: Case | None) -> Functions | None:
        if op in adapter.ops:
            return adapter.functions(find(op), adapter.ops[op])
        if case is None or op in OPS or adapter.module is None or adapter.trace is None:
            return None
        net = Network.load(op)
        trace = adapter.trace(net, adapter.module(net), case)
        return trace.forward, trace.vjp

    return _of_functions(name, {"implementation": {"name": name, "version": adapter.version}}, functions)


def of_mapping(spec: str, found: Mapping[str, Functions]) -> Implementation:
    """The implementation of these functions by name."""

    def functions(op: str, case: Case | None) -> Functions | None:
        if op not in found:
            return None
        if op in OPS:
            return found[op]
        forward, vjp = of_dicts(Network.load(op), *found[op])
        assert forward is not None
        return forward, vjp

    return _of_functions(spec, {"implementation": {"name": spec}}, functions)


# --- running ---------------------------------------------------------------------------------------------------------


def required(
    suite: Suite, ops: str, dtype: str | None, families: Sequence[str], ids: Sequence[str]
) -> list[tuple[Fixture, str]]:
    """The selected cases, each with its working format. LookupError or ValueError names what does not exist."""
    if dtype is not None and dtype not in FORMATS:
        raise ValueError(f"dtype {dtype!r} is not one of {', '.join(FORMATS)}")
    known = list(dict.fromkeys(f for _, f in suite.entries))
    if unknown := [f for f in families if f not in known]:
        raise LookupError(f"unknown family {unknown[0]!r}, known: {', '.join(known)}")
    for name in ops.split(","):
        if not any(c in name for c in "*?["):
            subject(name)
    found = list(suite.select(ops, dtype, families, ids))
    if missing := set(ids) - {f.id for f, _ in found}:
        raise LookupError(f"no case of this selection has the id {min(missing)!r}")
    return found


def run_case(
    impl: Implementation, fixture: Fixture, dtype: str, *, forward: bool = False, options: Options | None = None
) -> Report:
    """The report of one case. If the implementation has no gradients of its op, the output alone is judged, and the
    case counts as skipped."""
    options = options or Options()
    if (declined := options.declined(fixture.case(dtype))) is not None:
        return Report({}, skips={fixture.id: declined})
    started = time.perf_counter()
    part = forward or impl.forward_only(fixture.op)
    answer = impl.answer(request(fixture, dtype, forward=part))
    seconds = time.perf_counter() - started
    words = ["refnn", "check", fixture.op, "--impl", impl.spec, "--case", fixture.id, "--dtype", dtype]
    replay = shlex.join([*words, *options.words()])
    report = judged(fixture, dtype, answer, seconds, forward=part, replay=replay, options=options)
    if part and not forward and answer.skip is None:
        report.skips[fixture.id] = "no gradients: the output alone was checked"
    return report


def judged(
    fixture: Fixture,
    dtype: str,
    answer: Answer,
    seconds: float = 0.0,
    *,
    forward: bool = False,
    replay: str = "",
    options: Options | None = None,
) -> Report:
    """The report of an answer, by the rule of the files, or by the oracle where the options name what to judge by."""
    report = Report({})
    if answer.skip is not None:
        report.skips[fixture.id] = answer.skip
    if options is not None and options.by_oracle:
        _by_oracle(report, fixture, dtype, answer, options, replay)
        wants: Sequence[str] = ()
    else:
        wants = ("y",) if forward else fixture.wants
    equation = next(iter(subject(fixture.op).equations), "")
    for want in wants:
        if want in answer.results:
            expected, shape = fixture.expect[want], fixture.shape(want)
            tally = Tally(_place(fixture, dtype, want), FORMATS[dtype], replay, equation, fixture.why)

            def spot(flat: int, at: Any = expected.main.at, shape: Any = shape) -> tuple[tuple[int, ...], Any]:
                return tuple(int(i) for i in np.unravel_index(flat if at is None else int(at[flat]), shape)), {}

            verdicts = judge(expected, answer.results[want], dtype, fixture.conventions)
            tally.add(verdicts, seconds / len(answer.results), spot)
            report.results.append(tally.result())
            report.findings.extend(tally.findings())
    for message in answer.errors:
        report.results.append(Result(*_place(fixture, dtype, "answer"), verdicts={"error": 1}))
        report.findings.append(
            Finding(*_place(fixture, dtype, "answer"), verdict="error", message=message, replay=replay)
        )
    return report


def _by_oracle(report: Report, fixture: Fixture, dtype: str, answer: Answer, options: Options, replay: str) -> None:
    """Judge the results that an answer has as `refnn.check` does."""

    def forward(*_: Any, **__: Any) -> np.ndarray:
        return answer.results["y"].copy()

    def vjp(*_: Any, **__: Any) -> tuple[np.ndarray | None, ...]:
        found = (answer.results.get(f"d/{name}") for name in fixture.inputs)
        return tuple(None if x is None else x.copy() for x in found)

    complete = all(w in answer.results for w in fixture.wants)
    case = as_planned(fixture, dtype)
    if "y" not in answer.results:  # why, its errors say
        return
    results, findings, *_ = check_case(
        case, forward, vjp if complete else None, options.rules(dtype), options.algorithm, replay=replay
    )
    report.results.extend(results)
    report.findings.extend(findings)


def _place(fixture: Fixture, dtype: str, want: str) -> Place:
    what = "output" if want == "y" else f"grad[{want[2:]}]" if want.startswith("d/") else want
    return fixture.id, fixture.op, dtype, fixture.family, what


def run(
    impl: Implementation,
    cases: Sequence[tuple[Fixture, str]],
    suite: Suite,
    *,
    forward: bool = False,
    options: Options | None = None,
    expected: Mapping[str, str] | None = None,
    step: Callable[[str], None] = lambda label: None,
) -> Report:
    """The report of these cases."""
    options = options or Options()
    about = header(impl.name, impl.about, cases, suite, forward=forward, options=options)
    total = Report(about, accept=options.accept)
    total.expected.update(of_run(expected or {}, cases))
    for fixture, dtype in cases:
        step(fixture.id)
        part = run_case(impl, fixture, dtype, forward=forward, options=options)
        total.results.extend(part.results)
        total.findings.extend(part.findings)
        total.skips.update(part.skips)
    settle(total, forward=forward)
    return total


def settle(report: Report, *, forward: bool) -> None:
    """Drop the expected failures that did not occur in cases of which only a part was run: they may be in the other
    part."""
    for case in report.stale:
        if forward or case in report.skips:
            del report.expected[case]


def header(
    name: str,
    about: Mapping[str, Any],
    cases: Sequence[tuple[Fixture, str]],
    suite: Suite,
    *,
    forward: bool = False,
    options: Options | None = None,
) -> dict[str, Any]:
    """The header of a report of the fixtures."""
    dtypes = [d for d in FORMATS if any(d == dtype for _, dtype in cases)]
    return {
        "subject": name,
        "dtype": ", ".join(dtypes),
        "model": ", ".join(dtypes),
        **({"results": OUTPUTS} if forward else {}),
        **about,
        "suite": suite.version,
        "manifest": suite.digest,
        "required": len(cases),
        "notes": ["judged by the fixtures: worst cases only, nothing is suspect"],
        **environment(),
        "models": [model(d).describe() for d in dtypes],
        "models version": VERSION,
        **(options or Options()).header(dtypes),
    }


# --- expected failures -----------------------------------------------------------------------------------------------


def read_expected(path: Path, suite: Suite) -> dict[str, str]:
    """Expected failures from a file: `ID  # reason`, or `ID DTYPE  # reason` for a working format that is not the
    format of the inputs. ValueError names a line without a reason, with an unknown id, or with an id that occurs
    twice."""
    found: dict[str, str] = {}
    for number, key, reason in expected_lines(path):
        words = key.split()
        if len(words) > 2:
            raise ValueError(f"{path}, line {number}: {key!r} is more than an id and a dtype before the reason")
        fixture = suite.find(words[0])
        if fixture is None:
            raise ValueError(f"{path}, line {number}: no case has the id {words[0]!r}")
        if (dtype := words[1] if len(words) == 2 else fixture.dtype) not in fixture.formats:
            raise ValueError(f"{path}, line {number}: {words[0]} has no bounds for {dtype!r}")
        if f"{words[0]} {dtype}" in found:
            raise ValueError(f"{path}, line {number}: {words[0]} occurs twice for {dtype}")
        found[f"{words[0]} {dtype}"] = reason
    return found


def expected_lines(path: Path) -> Iterator[tuple[int, str, str]]:
    """The lines `WHAT  # reason` of a file, each with its number. ValueError names one without a reason."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise ValueError(f"cannot read the expected failures {str(path)!r}: {e}") from e
    for number, row in enumerate(text.splitlines(), 1):
        if not row.strip() or row.lstrip().startswith("#"):
            continue
        what, *rest = re.split(r"\s#", row, maxsplit=1)
        if not (reason := "".join(rest).strip()):
            raise ValueError(f"{path}, line {number}: it has no reason, expected ID  # reason")
        yield number, " ".join(what.split()), reason


def of_run(expected: Mapping[str, str], cases: Sequence[tuple[Fixture, str]]) -> dict[str, str]:
    """The expected failures of the cases that are run, by id."""
    return {f.id: expected[key] for f, d in cases if (key := f"{f.id} {d}") in expected}


def committed(spec: str, suite: Suite) -> dict[str, str]:
    """The committed expected failures of an implementation. There are some of one version of PyTorch only."""
    if spec not in known():
        return {}
    try:
        return read_expected(data("expected", f"{spec}-{adapter_for(spec).version}-cpu-fixtures.txt"), suite)
    except FileNotFoundError:
        return {}
