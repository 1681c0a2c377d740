"""Judging: what an implementation returned for one case, against the oracle, element by element.

The truth comes from Arb, or from the float64 midpoints of the worst-case balls where those are known to be close enough:
for a model coarser than float64 every local error of the midpoints is at most 2**-26 of the model's own (2**-29 from the
unit roundoffs, 2**3 at most from the ulps of NumPy's functions), and the rules by which balls grow are convex in those
errors and zero where they are, so the midpoint lies within 2**-26 of the radius around the truth. Branches are the
exception: where rounding decides the side of a kink, the truth comes from Arb.
"""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from refnn.allowance import WorstCase, expected_error, worst_case
from refnn.formats import Format
from refnn.inputs import Case, layout
from refnn.models import Model
from refnn.report import CONFORMING, OUT_OF_SCOPE, Finding, Result
from refnn.truth import PRECISIONS, Value, evaluate

CLOSE = 2.0**-26  # how far the midpoint of a ball may be from the truth, in radii, for models coarser than float64
SLACK = 2.0**-48  # relative; covers the float64 roundings made while an error is compared with its allowance
UNEXPLAINED = ("suspect", "violation", "special")
KEPT = 3  # findings kept of each kind in each result

Forward = Callable[..., Any]
Vjp = Callable[..., Any]


class Misbehaviour(Exception):
    """What an implementation did that is wrong without being inaccurate, as a sentence."""


# --- running an implementation ---------------------------------------------------------------------------------------


def call(forward: Forward | None, vjp: Vjp | None, case: Case) -> tuple[list[Any], list[tuple[str, str]]]:
    """[output, *gradients] as float64 arrays, None where there is none or where it misbehaved; and what it did wrong."""
    results: list[Any] = [None] * (1 + len(case.inputs))
    complaints = []
    for function, part in ((forward, slice(0, 1)), (vjp, slice(1, None))):
        if function is None:
            continue
        try:
            results[part] = _guarded(function, case, part.start == 0)
        except Misbehaviour as e:
            complaints.append(("output" if part.start == 0 else "gradient", str(e)))
    return results, complaints


def _guarded(function: Callable[..., Any], case: Case, is_forward: bool) -> list[Any]:
    """The results of one function, checked for shape, dtype, side effects and, once per op, reproducibility."""
    first = _attempt(function, case, is_forward)
    if case.repeat:
        for a, b in zip(first, _attempt(function, case, is_forward), strict=True):
            if a is not None and a.tobytes() != b.tobytes():
                raise Misbehaviour("gave different bits in two runs on the same input")
    return [None if a is None else a.astype(np.float64) for a in first]


def _attempt(function: Callable[..., Any], case: Case, is_forward: bool) -> list[np.ndarray | None]:
    arrays = [None if x is None else layout(x, case.layout) for x in case.inputs]
    before = [b"" if x is None else x.tobytes() for x in arrays]
    params = {k: v.copy() if isinstance(v, np.ndarray) else v for k, v in case.params.items()}
    # A constant cotangent keeps its stride of 0.
    g = case.cotangent if 0 in case.cotangent.strides else layout(case.cotangent, case.layout)
    given = [*arrays] if is_forward else [g, *arrays]
    wanted = case.cotangent.tobytes()
    try:
        with np.errstate(all="ignore"):
            returned = function(*given, **params)
    except Misbehaviour:
        raise
    except Exception as e:
        raise Misbehaviour(f"raised {type(e).__name__}: {e}\n{_own_frames(e)}") from e
    for name, x, bits in zip(case.op.inputs, arrays, before, strict=True):
        if x is not None and x.tobytes() != bits:
            raise Misbehaviour(f"modified its input {name} in place")
    if g.tobytes() != wanted:
        raise Misbehaviour("modified the cotangent in place")
    if is_forward:
        return [_accept(returned, "the output", case.cotangent.shape, case.cotangent.dtype)]
    return _gradients(returned, case)


def _own_frames(error: Exception) -> str:
    """The traceback from the tested code on."""
    frames = traceback.extract_tb(error.__traceback__)[1:]
    return "".join(traceback.format_list(frames)).rstrip()


def _accept(value: Any, what: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    if not isinstance(value, (np.ndarray, np.generic)):
        raise Misbehaviour(f"{what} is a {type(value).__name__}, expected a NumPy array of {dtype} and shape {shape}")
    if value.dtype != dtype:
        raise Misbehaviour(f"{what} has dtype {value.dtype}, expected {dtype}")
    if value.shape != shape:
        raise Misbehaviour(f"{what} has shape {value.shape}, expected {shape}")
    return np.array(value)


def differentiable(case: Case) -> list[bool]:
    """Which inputs have a gradient: floats, unless the op says otherwise."""
    return [
        x is not None and x.dtype.kind not in "iu" and declared.differentiable
        for x, declared in zip(case.inputs, case.op.inputs.values(), strict=True)
    ]


def _gradients(returned: Any, case: Case) -> list[np.ndarray | None]:
    if isinstance(returned, (np.ndarray, np.generic)) and len(case.inputs) == 1:
        returned = (returned,)
    if not isinstance(returned, (tuple, list)):
        raise Misbehaviour(f"the vjp returned a {type(returned).__name__}, expected a tuple of {len(case.inputs)} gradients")
    wanted = differentiable(case)
    present = len(case.inputs) - sum(x is None for x in case.inputs)
    if not present <= len(returned) <= len(case.inputs):
        raise Misbehaviour(f"the vjp returned {len(returned)} gradients, expected {len(case.inputs)}, one for each input")
    padded = [*returned, *[None] * (len(case.inputs) - len(returned))]
    return [
        _accept(value, f"grad[{name}]", x.shape, x.dtype) if want and x is not None else None
        for value, name, x, want in zip(padded, case.op.inputs, case.inputs, wanted, strict=True)
    ]


# --- judging ---------------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Judgement:
    """Verdicts of the elements of one result, with all that a finding says about them."""

    verdict: np.ndarray  # of str, or "" where an element is free
    name: np.ndarray  # of str: the convention or the class
    got: np.ndarray
    expected: np.ndarray
    allowed: np.ndarray
    error: np.ndarray


class Judge:
    """The oracle for one case: truth and allowances, each computed when it is first needed."""

    def __init__(self, case: Case, model_: Model, algorithm: str, line: float) -> None:
        self.case, self.model, self.algorithm, self.line = case, model_, algorithm, line
        self.storage: Format = model_.storage
        with np.errstate(all="ignore"):
            self.worst = self._worst_case(algorithm)
        self._truths: dict[tuple[int, float], list[Value | None]] = {}
        self._expected: dict[str, list[Any]] = {}
        self.special_inputs = any(
            x is not None and x.dtype.kind not in "iu" and not np.isfinite(x.astype(np.float64)).all()
            for x in (*case.inputs, case.cotangent)
        )

    def _worst_case(self, algorithm: str, at_zero: float | None = None) -> WorstCase:
        c = self.case
        share = self._own_share if at_zero is None else at_zero
        return worst_case(c.op, c.op.algorithm(algorithm), c.inputs, c.params, c.cotangent, self.model, share)

    @property
    def _own_share(self) -> float:
        return next(iter(self.case.op.kinks.values()), 0.0)

    def _truth(self, which: int, worst: WorstCase, precision: int, at_zero: float) -> Value:
        """The truth of one result: precision 0 asks for the cheapest certified one."""
        result = worst.results[which]
        assert result is not None
        middle, radius = result
        exact = not radius.any()
        coarse = self.model.compute.precision < 53 and not worst.open_branches
        if precision == 0 and (exact or coarse):
            return Value(middle, np.zeros_like(middle), np.where(np.isfinite(radius), radius * CLOSE, 0.0))
        bits = precision or PRECISIONS[0]
        if (bits, at_zero) not in self._truths:
            c = self.case
            values = evaluate(c.op, c.op.algorithm("accurate"), c.inputs, c.params, c.cotangent, bits, at_zero)
            self._truths[bits, at_zero] = values
        value = self._truths[bits, at_zero][which]
        assert value is not None
        return value

    def expected_line(self, which: int, algorithm: str) -> np.ndarray:
        """What the error exceeds with less than the allotted probability, where roundings are independent."""
        if algorithm not in self._expected:
            c = self.case
            self._expected[algorithm] = expected_error(
                c.op, c.op.algorithm(algorithm), c.inputs, c.params, c.cotangent, self.model
            )
        std, library = self._expected[algorithm][which]
        return self.line * std + library

    def judge(self, which: int, got: np.ndarray) -> Judgement:
        """The verdicts for the output (`which` = 0) or the gradient of input `which - 1`."""
        with np.errstate(all="ignore"):
            j = self._against(which, got, self.worst, self._own_share)
            if self.worst.kinks:
                self._conventions(which, got, j)
            if self.case.random and (j.verdict == "ok").any():
                beyond = ~(j.error <= self.expected_line(which, self.algorithm))
                j.verdict[(j.verdict == "ok") & beyond] = "suspect"
            if self.algorithm == "accurate" and np.isin(j.verdict, UNEXPLAINED).any():
                self._classes(which, got, j)
        if which:
            x = self.case.inputs[which - 1]
            if x is not None:
                j.verdict[np.isnan(x.astype(np.float64))] = ""  # the gradient at a NaN is free
        return j

    def _against(self, which: int, got: np.ndarray, worst: WorstCase, at_zero: float) -> Judgement:
        result = worst.results[which]
        assert result is not None
        middle, allowed = result
        verdict = np.full(got.shape, "", dtype="<U16")
        for precision in (0, *PRECISIONS):
            t = self._truth(which, worst, precision, at_zero)
            error = np.abs((got - t.value) - t.low)
            inside = error * (1 + SLACK) + t.radius <= allowed
            outside = error * (1 - SLACK) - t.radius > allowed
            # Nothing but NaN makes all of these false: it is outside.
            outside |= np.isnan(error) & ~np.isnan(t.value)
            exact = self._correctly_rounded(got, t)
            decided = exact | inside | outside
            special = ~np.isfinite(middle) & (allowed == 0)
            if (decided | special | np.isinf(allowed)).all():
                break
        verdict[...] = "error"
        verdict[outside] = "special" if self.special_inputs else "violation"
        verdict[inside] = "ok"
        verdict[exact] = "exact"
        # A special middle is what every evaluation gives, so anything else contradicts the definition.
        agrees = (got == middle) | (np.isnan(got) & np.isnan(middle))
        verdict[special] = np.where(agrees, "exact", "special")[special]
        verdict[np.isinf(allowed)] = OUT_OF_SCOPE
        error = np.where(special & agrees, 0.0, error)
        name = np.full(got.shape, "", dtype=object)
        return Judgement(verdict, name, got, np.array(t.value), np.asarray(allowed), np.array(error))

    def _correctly_rounded(self, got: np.ndarray, t: Value) -> np.ndarray:
        """Where the whole of the truth's ball is known to round to `got`; the ends are moved outward first."""
        spread = (t.radius + np.abs(t.low)) * (1 + SLACK)
        if self.storage.name == "float64":
            return (got == t.value) & ((t.radius == 0) & (t.low == 0) | (_half_gap(t.value) > spread))
        low, high = np.nextafter(t.value - spread, -np.inf), np.nextafter(t.value + spread, np.inf)
        point = spread == 0
        low, high = np.where(point, t.value, low), np.where(point, t.value, high)
        return (_cast(low, self.storage) == got) & (_cast(high, self.storage) == got)

    def _conventions(self, which: int, got: np.ndarray, j: Judgement) -> None:
        """At a kink every share of the one-sided derivatives is sound; name the one that was followed."""
        lower, upper = (self._worst_case(self.algorithm, share) for share in (0.0, 1.0))
        at_kink = lower.results[which][0] != upper.results[which][0]  # type: ignore[index]
        for name, share in self.case.op.kinks.items():
            worst = self._worst_case(self.algorithm, share)
            follows = self._against(which, got, worst, share)
            hit = at_kink & np.isin(follows.verdict, ("exact", "ok")) & (j.name == "")
            j.verdict[hit], j.name[hit] = "convention", name
            j.expected[hit], j.error[hit] = follows.expected[hit], follows.error[hit]
        ends = np.array([w.results[which][0] for w in (lower, upper)])  # type: ignore[index]
        slack = upper.results[which][1]  # type: ignore[index]
        between = at_kink & (j.name == "") & (got >= ends.min(0) - slack) & (got <= ends.max(0) + slack)
        j.verdict[between], j.name[between] = "convention", "between the one-sided derivatives"
        j.error[between] = 0.0

    def _classes(self, which: int, got: np.ndarray, j: Judgement) -> None:
        """The first declared class that explains what the accurate one does not."""
        for name in self.case.op.classes:
            other = self._against(which, got, self._worst_case(name), self._own_share)
            inside = np.isin(other.verdict, ("exact", "ok"))
            if self.case.random:
                inside &= j.error <= self.expected_line(which, name)
            hit = np.isin(j.verdict, UNEXPLAINED) & inside
            j.verdict[hit], j.name[hit] = "explained", name


def _half_gap(x: np.ndarray) -> np.ndarray:
    size = np.abs(x)
    gap = size - np.nextafter(size, 0)
    return np.where(size == 0, 2.0**-1074, gap) / 2


def _cast(x: np.ndarray, fmt: Format) -> np.ndarray:
    """Round to a format (NumPy's casts round to nearest even) and back."""
    return x.astype(fmt.dtype).astype(np.float64)


# --- reporting -------------------------------------------------------------------------------------------------------


def tell(
    judge: Judge, what: str, judgement: Judgement, seconds: float, replay: str
) -> tuple[Result, list[Finding]]:
    """One result and its findings, the worst of each kind first."""
    j, case = judgement, judge.case
    with np.errstate(all="ignore"):
        ratio = np.where(j.error == 0, 0.0, j.error / j.allowed)
        ulps = j.error / judge.storage.ulp(j.expected)
    verdicts, counts = np.unique(j.verdict, return_counts=True)
    inside = ratio[np.isin(j.verdict, (*CONFORMING, "suspect")) & np.isfinite(ratio)]
    bins, sizes = np.unique(np.floor(np.log2(inside[inside > 0])).astype(int), return_counts=True)
    place = _place(case, what)
    result = Result(
        *place,
        verdicts={str(v): int(n) for v, n in zip(verdicts, counts, strict=True) if v},
        worst_ratio=float(inside.max(initial=0.0)),
        histogram={int(b): int(n) for b, n in zip(bins, sizes, strict=True)},
        seconds=seconds,
    )
    findings = []
    kinds = set(zip(j.verdict.ravel().tolist(), j.name.ravel().tolist(), strict=True))
    for verdict, name in sorted(k for k in kinds if k[0] not in ("", "exact", "ok", OUT_OF_SCOPE)):
        alike = np.flatnonzero((j.verdict == verdict).ravel() & (j.name == name).ravel())
        order = np.argsort(-np.nan_to_num(ratio.ravel()[alike], nan=np.inf, posinf=np.inf), kind="stable")
        kept = alike[order[: 1 if verdict == "convention" else KEPT]]
        for rank, flat in enumerate(kept):
            index = tuple(int(i) for i in np.unravel_index(flat, j.got.shape))
            findings.append(
                Finding(
                    *place,
                    verdict=verdict,
                    index=index,
                    got=float(j.got[index]),
                    expected=float(j.expected[index]),
                    allowed=float(j.allowed[index]),
                    error=float(j.error[index]),
                    ratio=float(ratio[index]),
                    ulps=float(ulps[index]),
                    name=name,
                    message="undecided at the highest precision" if verdict == "error" else "",
                    equation=case.op.equations[0],
                    inputs=_values_at(case, index, j.got.shape),
                    replay=replay,
                    count=len(alike) if rank == 0 else 1,
                )
            )
    return result, findings


def _values_at(case: Case, index: tuple[int, ...], shape: tuple[int, ...]) -> dict[str, float]:
    """The inputs that stand at the same place as a result."""
    named = {**dict(zip(case.op.inputs, case.inputs, strict=True)), "cotangent": case.cotangent}
    return {n: float(x[index]) for n, x in named.items() if x is not None and x.shape == shape}


def check_case(
    case: Case,
    forward: Forward | None,
    vjp: Vjp | None,
    model_: Model,
    algorithm: str = "accurate",
    line: float = math.inf,
    replay: str = "",
) -> tuple[list[Result], list[Finding], Judge]:
    """The results and findings of one case, and the judge who reached them.

    `line` is the number of standard deviations that is beyond suspicion.
    """
    started = time.perf_counter()
    got, complaints = call(forward, vjp, case)
    judge = Judge(case, model_, algorithm, line)
    names = ["output", *(f"grad[{n}]" for n in case.op.inputs)]
    results, findings = [], []
    for which, (what, value) in enumerate(zip(names, got, strict=True)):
        if value is not None:
            judgement = judge.judge(which, value)
            result, found = tell(judge, what, judgement, time.perf_counter() - started, replay)
            started = time.perf_counter()
            results.append(result)
            findings.extend(found)
    for what, message in complaints:
        place = _place(case, what)
        results.append(Result(*place, verdicts={"error": 1}))
        findings.append(Finding(*place, verdict="error", message=message, replay=replay))
    return results, findings, judge


def _place(case: Case, what: str) -> tuple[str, str, str, str, str]:
    """The first fields of results and findings."""
    return case.id, case.op.name, case.cotangent.dtype.name, case.family, what
