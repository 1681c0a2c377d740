"""Running the fixtures against an implementation, by the rule of conformance/FORMAT.md.

The implementation is `torch`, `refnn` (its own floats), `cmd:PROGRAM` (JSON Lines), `lines:PROGRAM` (text lines) or
`module:object`. The object maps the name of an op to a forward, or to a pair of a forward and a vjp. A forward that has
a `vjp`, as refnn's own ops have, counts as a pair. For a network the two are f(params, *inputs) and
v(g, params, *inputs).
"""

from __future__ import annotations

import importlib
import math
import os
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from refnn.checking.check import adapter_for, of_dicts
from refnn.conformance import data
from refnn.formats import FORMATS
from refnn.implementations.executable import TIMEOUT, Program
from refnn.implementations.protocol import Answer, Request
from refnn.judging.call import Skipped, call
from refnn.judging.case import Case
from refnn.judging.tally import KEPT
from refnn.models import VERSION, model
from refnn.networks.network import Network, fixtures, subject
from refnn.ops import OPS, find
from refnn.report import CONFORMING, OUTPUTS, Finding, Report, Result
from refnn.report.header import environment
from refnn.suite.fixture import SUITE, Expected, Fixture, request
from refnn.suite.read import Suite
from refnn.suite.rule import Verdict, judge

Functions = tuple[Callable[..., Any], Callable[..., Any] | None]
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
    """The implementation that `spec` names, while it is in use. ValueError or LookupError says why there is none."""
    kind, colon, rest = spec.partition(":")
    if kind in ("cmd", "lines") and colon:
        with Program(rest, SUITE, lines=kind == "lines", timeout=timeout) as program:
            about = {"implementation": dict(program.impl), "program": spec}
            yield Implementation(spec, str(program.impl["name"]), about, program.run, program.forward_only)
    elif spec == "torch":
        yield _torch()
    elif spec == "refnn":
        yield _of_mapping(spec, own())
    else:
        yield _mapping(spec)


def _of_functions(name: str, about: Mapping[str, Any], functions: Find) -> Implementation:
    def answer(r: Request) -> Answer:
        """The results of its functions for fresh copies of the arrays, and what they do wrong."""
        case = Case(r.id, subject(r.op), tuple(r.inputs.values()), r.attrs, r.cotangent, "", random=False)
        pair = functions(r.op, case)
        if pair is None:
            return Answer(skip=f"{name} has no {r.op}")
        try:
            got, complaints = call(pair[0], pair[1] if len(r.wants) > 1 else None, case)
        except Skipped as e:
            return Answer(skip=str(e))
        names = ["y", *(f"d/{n}" for n in r.inputs)]
        results = {n: x for n, x in zip(names, got, strict=True) if x is not None and n in r.wants}
        return Answer(results, errors=tuple(f"{what}: {message}" for what, message in complaints))

    def forward_only(op: str) -> bool:
        pair = functions(op, None)
        return pair is not None and pair[1] is None

    return Implementation(name, name, about, answer, forward_only)


def _torch() -> Implementation:
    adapter = adapter_for("torch")
    witness = importlib.import_module("refnn.witnesses.torch")

    def functions(op: str, case: Case | None) -> Functions | None:
        if op in witness.FUNCTIONS:
            return adapter.functions(find(op), witness.FUNCTIONS[op])
        if case is None or op in OPS:
            return None
        net = Network.load(op)
        trace = adapter.trace(net, witness.module(net), case)
        return trace.forward, trace.vjp

    return _of_functions("torch", {"implementation": {"name": "torch", "version": witness.VERSION}}, functions)


def _mapping(spec: str) -> Implementation:
    module, colon, path = spec.partition(":")
    if not module or not colon or not path:
        raise ValueError(
            f"the implementation {spec!r} is not one of torch, refnn, module:object, cmd:PROGRAM, lines:PROGRAM"
        )
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except Exception as e:
        raise LookupError(f"the implementation {spec!r}: importing it raised {type(e).__name__}: {e}") from e
    if not isinstance(found, Mapping):
        raise ValueError(f"the implementation {spec!r} is a {type(found).__name__}, expected a mapping from op names")
    return _of_mapping(spec, found)


def _of_mapping(spec: str, found: Mapping[str, Any]) -> Implementation:
    if unknown := [n for n in found if n not in OPS and n not in fixtures()]:
        raise LookupError(
            f"the implementation {spec!r} has {unknown[0]!r}, which is neither an op nor a network of refnn"
        )

    def functions(op: str, case: Case | None) -> Functions | None:
        if op not in found:
            return None
        pair = pair_of(spec, found, op)
        return pair if op in OPS else _of_network(Network.load(op), *pair)

    for name in found:
        functions(name, None)
    return _of_functions(spec, {"implementation": {"name": spec}}, functions)


def pair_of(spec: str, found: Mapping[str, Any], name: str) -> Functions:
    """The forward and the vjp (or None) that a mapping has for a name; `spec` names the mapping in errors. LookupError
    says that it has nothing of that name, ValueError that it has something else."""
    if name not in found:
        raise LookupError(f"the implementation {spec!r} has no {name!r}")
    value: Any = found[name]
    pair: Any = value if isinstance(value, (tuple, list)) else (value, getattr(value, "vjp", None))
    if len(pair) != 2 or not callable(pair[0]) or not (pair[1] is None or callable(pair[1])):
        raise ValueError(
            f"the implementation {spec!r}: {name!r} is neither a forward nor a pair of a forward and a vjp"
        )
    return pair[0], pair[1]


def _of_network(net: Network, forward: Callable[..., Any], vjp: Callable[..., Any] | None) -> Functions:
    """f(params, *inputs) and v(g, params, *inputs), turned into functions of the network's arrays in order."""
    whole, pulled = of_dicts(net, forward, vjp)
    assert whole is not None
    return whole, pulled


def own() -> Mapping[str, Any]:
    """refnn's own implementation: its ops, and the networks of the fixtures, in plain floats."""
    found: dict[str, Any] = dict(OPS)
    for name in fixtures():
        found[name] = _floats(Network.load(name))
    return found


def _floats(net: Network) -> Functions:
    return (
        lambda params, *inputs: net.forward(params, *inputs).output,
        lambda g, params, *inputs: net.backward(net.forward(params, *inputs), g),
    )


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


def run_case(impl: Implementation, fixture: Fixture, dtype: str, *, forward: bool = False) -> Report:
    """The report of one case. If the implementation has no gradients of its op, the output alone is judged, and the
    case counts as skipped."""
    started = time.perf_counter()
    part = forward or impl.forward_only(fixture.op)
    answer = impl.answer(request(fixture, dtype, forward=part))
    seconds = time.perf_counter() - started
    words = ["refnn", "check", fixture.op, "--impl", impl.spec, "--case", fixture.id, "--dtype", dtype]
    report = judged(fixture, dtype, answer, seconds, forward=part, replay=shlex.join(words))
    if part and not forward and answer.skip is None:
        report.skips[fixture.id] = "no gradients: the output alone was checked"
    return report


def judged(
    fixture: Fixture, dtype: str, answer: Answer, seconds: float = 0.0, *, forward: bool = False, replay: str = ""
) -> Report:
    """The report of an answer, by the rule of the files."""
    report = Report({})
    if answer.skip is not None:
        report.skips[fixture.id] = answer.skip
        return report
    wants = ("y",) if forward else fixture.wants
    for want in wants:
        if want in answer.results:
            verdict = judge(fixture.expect[want], answer.results[want], dtype, fixture.conventions)
            report.results.append(_result(fixture, dtype, want, verdict, seconds / len(answer.results)))
            report.findings.extend(_findings(fixture, dtype, want, fixture.expect[want], verdict, replay))
    for message in answer.errors:
        report.results.append(Result(*_place(fixture, dtype, "answer"), verdicts={"error": 1}))
        report.findings.append(
            Finding(*_place(fixture, dtype, "answer"), verdict="error", message=message, replay=replay)
        )
    return report


def _place(fixture: Fixture, dtype: str, want: str) -> tuple[str, str, str, str, str]:
    what = "output" if want == "y" else f"grad[{want[2:]}]" if want.startswith("d/") else want
    return fixture.id, fixture.op, dtype, fixture.family, what


def _result(fixture: Fixture, dtype: str, want: str, v: Verdict, seconds: float) -> Result:
    inside = v.ratio[np.isin(v.codes, ["exact", "ok", "convention", "explained"]) & (v.ratio > 0)]
    bins: dict[int, int] = {}
    for b in np.frexp(inside)[1].tolist():
        bins[b - 1] = bins.get(b - 1, 0) + 1
    worst = float(np.max(inside, initial=0.0))
    return Result(*_place(fixture, dtype, want), v.counts(), worst, dict(sorted(bins.items())), seconds)


def _findings(fixture: Fixture, dtype: str, want: str, e: Expected, v: Verdict, replay: str) -> Iterable[Finding]:
    """The worst elements of each verdict but exact and ok. The first one also counts those that are not shown."""
    fmt, shape = FORMATS[dtype], fixture.shape(want)
    equation = next(iter(subject(fixture.op).equations), "")
    at = e.main.at
    kinds = dict.fromkeys(zip(v.codes.tolist(), v.names.tolist(), strict=True))
    for code, name in kinds:
        if code in ("", "exact", "ok"):
            continue
        alike = np.flatnonzero((v.codes == code) & (v.names == name))
        order = np.argsort(-np.nan_to_num(v.ratio[alike], nan=np.inf, posinf=np.inf), kind="stable")
        kept = alike[order[: 1 if code == "convention" else KEPT]]
        for rank, flat in enumerate(kept.tolist()):
            expected, allowed = _expected_value(e, flat), float(e.main.bounds[dtype][flat])
            error, ratio = float(v.error[flat]), float(v.ratio[flat])
            with np.errstate(all="ignore"):
                if code == "explained":  # by a wider claim: here it is said how far it is from the standard one
                    error = float(np.abs((v.got[flat] - e.main.hi[flat]) - e.main.lo[flat]))
                    ratio = float(np.float64(error) / allowed)
                ulps = float(error / fmt.ulp(expected)) if math.isfinite(expected) else math.nan
            yield Finding(
                *_place(fixture, dtype, want),
                verdict=code,
                index=tuple(int(i) for i in np.unravel_index(flat if at is None else int(at[flat]), shape)),
                got=float(v.got[flat]),
                expected=expected,
                allowed=allowed,
                error=error,
                ratio=ratio,
                ulps=ulps,
                name=name,
                message=fixture.why,
                equation=equation,
                replay=replay,
                count=len(alike) - len(kept) + 1 if rank == 0 else 1,
            )


def _expected_value(e: Expected, flat: int) -> float:
    words = {"n": math.nan, "p": math.inf, "m": -math.inf, "z": 0.0, "Z": -0.0}
    return words.get(e.main.letters[flat], float(e.main.hi[flat]))


def run(
    impl: Implementation,
    cases: Sequence[tuple[Fixture, str]],
    suite: Suite,
    *,
    forward: bool = False,
    accept: Iterable[str] = (),
    expected: Mapping[str, str] | None = None,
    step: Callable[[str], None] = lambda label: None,
) -> Report:
    """The report of these cases."""
    total = Report(header(impl.name, impl.about, cases, suite, forward=forward), accept=CONFORMING | frozenset(accept))
    total.expected.update(of_run(expected or {}, cases))
    for fixture, dtype in cases:
        step(fixture.id)
        part = run_case(impl, fixture, dtype, forward=forward)
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
    name: str, about: Mapping[str, Any], cases: Sequence[tuple[Fixture, str]], suite: Suite, *, forward: bool = False
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
    }


# --- expected failures -----------------------------------------------------------------------------------------------


def read_expected(path: Path, suite: Suite) -> dict[str, str]:
    """Expected failures from a file: `ID  # reason`, or `ID DTYPE  # reason` for a working format that is not the
    format of the inputs. ValueError names a line without a reason, with an unknown id, or with an id that occurs
    twice."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise ValueError(f"cannot read the expected failures {str(path)!r}: {e}") from e
    found: dict[str, str] = {}
    for number, row in enumerate(text.splitlines(), 1):
        if not row.strip() or row.lstrip().startswith("#"):
            continue
        key, *rest = re.split(r"\s#", row, maxsplit=1)
        words, reason = key.split(), "".join(rest)
        if not reason.strip():
            raise ValueError(f"{path}, line {number}: it has no reason, expected ID  # reason")
        if len(words) > 2:
            raise ValueError(f"{path}, line {number}: {key.strip()!r} is more than an id and a dtype before the reason")
        fixture = suite.find(words[0])
        if fixture is None:
            raise ValueError(f"{path}, line {number}: no case has the id {words[0]!r}")
        if (dtype := words[1] if len(words) == 2 else fixture.dtype) not in fixture.formats:
            raise ValueError(f"{path}, line {number}: {words[0]} has no bounds for {dtype!r}")
        if f"{words[0]} {dtype}" in found:
            raise ValueError(f"{path}, line {number}: {words[0]} occurs twice for {dtype}")
        found[f"{words[0]} {dtype}"] = reason.strip()
    return found


def of_run(expected: Mapping[str, str], cases: Sequence[tuple[Fixture, str]]) -> dict[str, str]:
    """The expected failures of the cases that are run, by id."""
    return {f.id: expected[key] for f, d in cases if (key := f"{f.id} {d}") in expected}


def committed(spec: str, suite: Suite) -> dict[str, str]:
    """The committed expected failures of an implementation. There are some of this version of PyTorch only."""
    if spec != "torch":
        return {}
    adapter_for("torch")
    version = importlib.import_module("refnn.witnesses.torch").VERSION
    try:
        return read_expected(data("expected", f"torch-{version}-cpu-fixtures.txt"), suite)
    except FileNotFoundError:
        return {}
