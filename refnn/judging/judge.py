"""Judging: what an implementation returned for one case, against the oracle, element by element.

The truth comes from Arb, or from the float64 midpoints of the worst-case balls where those are known to be close
enough: for a model coarser than float64 every local error of the midpoints is at most 2**-26 of the model's own (2**-29
from the unit roundoffs, 2**3 at most from the ulps of NumPy's functions), and the rules by which balls grow are convex
in those errors and zero where they are, so the midpoint lies within 2**-26 of the radius around the truth. Branches are
an exception: where rounding decides the side of a kink, the truth comes from Arb. So it does where a result on the way
overflows, because what becomes of it says nothing about the truth.
"""

from __future__ import annotations

import itertools
import math
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from refnn.oracle.allowance import WorstCase, expected_error, worst_case
from refnn.arithmetic import BLOCK, Convention
from refnn.arithmetic.floats import Floats, keep_freed_memory
from refnn.arithmetic.windows import Contraction
from refnn.formats import Format
from refnn.judging.cases import Case, layout
from refnn.models import Model
from refnn.op import Special
from refnn.report import OUT_OF_SCOPE, VERDICTS, Finding, Result
from refnn.oracle.ties import grouped, shares
from refnn.oracle.truth import Value, chunks, half_gap, refine, run

CLOSE = 2.0**-26  # how far the midpoint of a ball may be from the truth, in radii, for models coarser than float64
SLACK = 2.0**-48  # relative; covers the float64 roundings made while an error is compared with its allowance
KEPT = 3  # findings kept of each kind in each result

Forward = Callable[..., Any]
Vjp = Callable[..., Any]


class Misbehaviour(Exception):
    """What an implementation did that is wrong without being inaccurate, as a sentence."""


class Skipped(Exception):
    """What an implementation says it does not do: neither right nor wrong."""


# --- running an implementation ---------------------------------------------------------------------------------------


def call(forward: Forward | None, vjp: Vjp | None, case: Case) -> tuple[list[Any], list[tuple[str, str]]]:
    """[output, *gradients], None where there is none or where it misbehaved; and what it did wrong."""
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
            if a is not None and not _same_bits(a, b):
                raise Misbehaviour("gave different bits in two runs on the same input")
    return [*first]


def _attempt(function: Callable[..., Any], case: Case, is_forward: bool) -> list[np.ndarray | None]:
    arrays = [None if x is None else layout(x, case.layout) for x in case.inputs]
    params = {k: v.copy() if isinstance(v, np.ndarray) else v for k, v in case.params.items()}
    # A constant cotangent keeps its stride of 0.
    g = case.cotangent if 0 in case.cotangent.strides else layout(case.cotangent, case.cotangent_layout)
    given = [*arrays] if is_forward else [g, *arrays]
    try:
        with np.errstate(all="ignore"):
            returned = function(*given, **params)
    except (Misbehaviour, Skipped):
        raise
    except Exception as e:
        raise Misbehaviour(f"raised {type(e).__name__}: {e}\n{_own_frames(e)}") from e
    for name, x, original in zip(case.op.inputs, arrays, case.inputs, strict=True):
        if x is not None and not _same_bits(x, original):
            raise Misbehaviour(f"modified its input {name} in place")
    if g is not case.cotangent and not _same_bits(g, case.cotangent):
        raise Misbehaviour("modified the cotangent in place")
    if is_forward:
        return [_accept(returned, "the output", case.cotangent.shape, case.cotangent.dtype)]
    return _gradients(returned, case)


def _same_bits(a: np.ndarray, b: Any) -> bool:
    """Whether two arrays of one shape and dtype hold the same bits, NaN and the sign of zero included."""
    whole = {2: np.int16, 4: np.int32, 8: np.int64}[a.dtype.itemsize]
    return bool(np.array_equal(a.view(whole), b.view(whole)))


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
        raise Misbehaviour(
            f"the vjp returned a {type(returned).__name__}, expected a tuple of {len(case.inputs)} gradients"
        )
    wanted = differentiable(case)
    present = len(case.inputs) - sum(x is None for x in case.inputs)
    if not present <= len(returned) <= len(case.inputs):
        raise Misbehaviour(
            f"the vjp returned {len(returned)} gradients, expected {len(case.inputs)}, one for each input"
        )
    padded = [*returned, *[None] * (len(case.inputs) - len(returned))]
    return [
        _accept(value, f"grad[{name}]", x.shape, x.dtype) if want and x is not None else None
        for value, name, x, want in zip(padded, case.op.inputs, case.inputs, wanted, strict=True)
    ]


# --- judging ---------------------------------------------------------------------------------------------------------

# Codes of verdicts, in the order of VERDICTS; the last two are not judged.
EXACT, OK, CONVENTION, SUSPECT, EXPLAINED, VIOLATION, SPECIAL, ERROR, SCOPE, FREE = range(10)
NAMES = (*VERDICTS, OUT_OF_SCOPE, "")


@dataclass(eq=False)
class Judgement:
    """The elements of one result: `code` of each verdict, `name` as an index into `names` (conventions and classes),
    and what a finding says about them."""

    code: np.ndarray
    got: np.ndarray
    expected: np.ndarray
    allowed: np.ndarray
    error: np.ndarray
    name: np.ndarray
    names: list[str]

    def call(self, where: np.ndarray, code: int, name: str) -> None:
        if where.any():
            if name not in self.names:
                self.names.append(name)
            self.code[where], self.name[where] = code, self.names.index(name)


class _Formed(Floats):
    """Floats with every product that an implementation may form with the zeros of a padding."""

    def contract(self, form: Contraction, a: Any, b: Any, plus: Any = None) -> Any:
        result = super().contract(form, a, b, plus)
        if not form.around:
            return result
        met = form.apply(np.matmul, np.ones(a.shape), (~np.isfinite(b)).astype(float)) > 0
        return np.where(met.any(form.around, keepdims=True), np.nan, result)


class Judge:
    """The oracle for one case: truth and allowances, each computed when it is first needed."""

    def __init__(self, case: Case, model_: Model, algorithm: str, line: float) -> None:
        self.case, self.model, self.algorithm, self.line = case, model_, algorithm, line
        self.storage: Format = model_.storage
        self.special_inputs = any(
            x is not None and x.dtype.kind not in "iu" and not np.isfinite(x).all()
            for x in (*case.inputs, case.cotangent)
        )
        self._lines: dict[str, list[Any]] = {}
        self._refined: dict[str, Iterator[list[Value | None]]] = {}
        with np.errstate(all="ignore"):
            self.worst = self._worst_case(algorithm, case.op.convention)

    def _worst_case(self, algorithm: str, convention: Convention) -> WorstCase:
        c = self.case
        return worst_case(c.op, c.op.algorithm(algorithm), c.inputs, c.params, c.cotangent, self.model, convention)

    def _truths(self, which: int, convention: Convention) -> Iterator[Value]:
        """The truth of one result with more and more digits; all results of each precision are computed once."""
        c, key = self.case, str(convention)
        if key not in self._refined:
            self._refined[key] = refine(
                c.op, c.op.algorithm(self.algorithm), c.inputs, c.params, c.cotangent, convention
            )
        self._refined[key], again = itertools.tee(self._refined[key])
        for values in again:
            value = values[which]
            assert value is not None
            yield value

    def _random(self, which: int) -> bool:
        """Whether an expected error means something: for the output whatever the cotangent is."""
        return self.case.random and (which == 0 or self.case.random_cotangent)

    def expected_line(self, which: int, algorithm: str, rows: Any, wanted: np.ndarray) -> np.ndarray:
        """What an error exceeds with less than the allotted probability, where roundings are independent: for the
        `wanted` elements of some rows, and NaN for others."""
        c = self.case
        x = c.inputs[0]
        if x is not None and c.op.rowwise(x.ndim, c.params):
            some = wanted.reshape(len(wanted), -1).any(1)
            chosen = tuple(None if v is None else v[rows][some] for v in c.inputs)
            std, library = self._expected(algorithm, chosen, c.cotangent[rows][some])[which]
            line = np.full(wanted.shape, np.nan)
            line[some] = self.line * std + library
            return line
        if algorithm not in self._lines:
            self._lines[algorithm] = self._expected(algorithm, c.inputs, c.cotangent)
        std, library = self._lines[algorithm][which]
        return self.line * std[rows] + library[rows]

    def _expected(self, algorithm: str, inputs: tuple[np.ndarray | None, ...], cotangent: np.ndarray) -> list[Any]:
        c = self.case
        return expected_error(c.op, c.op.algorithm(algorithm), inputs, c.params, cotangent, self.model)

    def _beyond(
        self, which: int, algorithm: str, worst: WorstCase, j: Judgement, rows: Any, wanted: np.ndarray
    ) -> np.ndarray:
        """Where the error is beyond the expected line of a class. A line that is NaN says nothing, nor does one where
        something overflows on the way and leaves the class's own middle beyond it."""
        line = np.maximum(self.expected_line(which, algorithm, rows, wanted), self._one_rounding(which, j))
        beyond = j.error > line
        if worst.overflows:
            result = worst.results[which]
            assert result is not None
            beyond &= np.abs(np.asarray(result[0])[rows] - j.expected) <= line
        return beyond

    def _one_rounding(self, which: int, j: Judgement) -> np.ndarray:
        """What the last rounding and the elementary functions alone let pass: no line of any result is below."""
        last = self.line * self.storage.unit_roundoff / math.sqrt(3)
        return (last + self.worst.library[which] * self.model.compute.unit_roundoff) * np.abs(j.expected)

    def judge(self, which: int, got: np.ndarray, rows: Any = ...) -> Judgement:
        """The verdicts for the output (`which` = 0) or the gradient of input `which - 1`; `got` holds the `rows` of it
        as float64."""
        if self.case.row is not None:
            j = self._by_row(which, got, self.case.row)
            if (wrong := _unexplained(j)).any():  # at a kink the table, too, takes what is sound everywhere
                as_usual = self._judge(which, got, rows)
                # The table is that of the op; a class has edges of its own.
                sound = as_usual.code <= CONVENTION if self.algorithm != "accurate" else as_usual.code == CONVENTION
                self._name(j, as_usual, wrong & (sound | (as_usual.code == SCOPE)))
                self._zero_cotangents(which, j, rows)
            return j
        return self._judge(which, got, rows)

    def _judge(self, which: int, got: np.ndarray, rows: Any) -> Judgement:
        with np.errstate(all="ignore"):
            j = self._against(which, got, self.worst, self.case.op.convention, rows)
            if self.worst.kinks and self.case.op.kinks:
                self._conventions(which, got, j, rows)
            if self._random(which) and self.worst.roundings[which] > self.line**2 / 3:
                # Fewer roundings than that keep the worst case itself below the line (see Ball).
                suspicious = j.error > self.line / math.sqrt(3 * self.worst.roundings[which]) * j.allowed
                if suspicious.any():
                    suspicious &= (j.code == OK) & (j.error > self._one_rounding(which, j))
                if suspicious.any():
                    j.code[suspicious & self._beyond(which, self.algorithm, self.worst, j, rows, suspicious)] = SUSPECT
            if self.special_inputs and (j.code == SPECIAL).any():
                self._padded(which, got, j, rows)
                self._by_table(which, got, j, rows)
                self._zero_cotangents(which, j, rows)
        if which and self.special_inputs:
            x = self.case.inputs[which - 1]
            if x is not None:
                j.code[np.isnan(x[rows])] = FREE  # the gradient at a NaN itself
        return j

    def _against(self, which: int, got: np.ndarray, worst: WorstCase, convention: Convention, rows: Any) -> Judgement:
        result = worst.results[which]
        assert result is not None
        middle, allowed = np.asarray(result[0])[rows], np.asarray(result[1])[rows]
        most = np.max(allowed, initial=0.0)  # NaN and infinities fail the comparison
        close = bool(most == 0) or (self.model.compute.precision < 53 and not worst.open_branches)
        # What overflows on the way may leave the midpoint anywhere in its ball.
        close &= not worst.overflows
        if close and most < math.inf:
            # The common case: the midpoints are certified to be near enough, and every element is inside.
            error = np.asarray(np.abs(got - middle))
            if (error <= allowed * (1 - 2 * CLOSE)).all():
                rounded = self._correctly_rounded(got, middle, allowed * CLOSE)
                code = np.asarray(~rounded).view(np.uint8)  # EXACT is 0, OK is 1
                return Judgement(code, got, middle, allowed, error, np.zeros(got.shape, np.uint8), [""])
        return self._slowly(which, got, middle, allowed, close, convention, rows, worst)

    def _slowly(
        self,
        which: int,
        got: np.ndarray,
        middle: np.ndarray,
        allowed: np.ndarray,
        close: bool,
        convention: Convention,
        rows: Any,
        worst: WorstCase,
    ) -> Judgement:
        """Raise the precision of the truth until every element is decided."""
        special = ~np.isfinite(middle) & (allowed == 0)
        unknown = np.isinf(allowed)
        agrees = (got == middle) | (np.isnan(got) & np.isnan(middle))
        truths: Iterable[Value] = (t.rows(rows) for t in self._truths(which, convention))
        if close:
            near = np.where(unknown, 0.0, allowed * CLOSE)
            truths = itertools.chain([Value(middle, np.zeros_like(middle), near, near == 0)], truths)
        for t in truths:
            error = np.asarray(np.abs((got - t.value) - t.low))
            inside = error * (1 + SLACK) + t.radius <= allowed
            outside = error * (1 - SLACK) - t.radius > allowed
            # A NaN makes both false: it is outside, unless the truth is one, too.
            outside |= np.isnan(got) & ~np.isnan(t.value)
            exact = self._correctly_rounded(got, t.value, np.abs(t.low) + t.radius)
            if self.storage.name == "float64":
                exact |= (got == t.value) & t.certain
            if (exact | inside | outside | special | unknown).all():
                break
        code = np.full(got.shape, ERROR, np.uint8)
        # Where even the highest precision leaves error and allowance alike, nothing is proved.
        code[~outside & (error * (1 - SLACK) <= allowed) & (t.radius <= allowed * SLACK)] = OK
        code[outside] = VIOLATION
        if self.special_inputs:
            code[outside & ~(np.isfinite(got) & np.isfinite(t.value))] = SPECIAL
        code[inside] = OK
        code[exact] = EXACT
        # A special middle is what every evaluation gives: the truth is undefined, infinite or beyond the range.
        code[special & agrees], code[special & ~agrees] = EXACT, SPECIAL
        expected = np.where(special, middle, t.value)
        error = np.where(special, np.where(agrees, 0.0, np.abs(got - middle)), error)
        j = Judgement(code, got, expected, allowed, error, np.zeros(got.shape, np.uint8), [""])
        j.call(unknown, SCOPE, why_unknown(worst))
        return j

    def _correctly_rounded(self, got: np.ndarray, value: np.ndarray, spread: np.ndarray) -> np.ndarray:
        """Where all numbers within `spread` of `value` are known to round to `got`."""
        if self.storage.name == "float64":
            return (got == value) & ((spread == 0) | (half_gap(value) > spread * (1 + SLACK)))
        wider = spread * (1 + SLACK)
        # The sums below round in float64, and the cast to bfloat16 rounds to float32 on its way: moved apart by more
        # than either, both ends round alike only where the whole interval does.
        wider += np.abs(value) * (2.0**-24 if self.storage.name == "bfloat16" else 2.0**-52)
        stored = got.astype(self.storage.dtype)  # exact: it came from there
        nearest = ((value - wider).astype(stored.dtype) == stored) & ((value + wider).astype(stored.dtype) == stored)
        if np.min(spread, initial=1.0) == 0:
            nearest |= (got == value) & (spread == 0)
        return nearest

    def _by_row(self, which: int, got: np.ndarray, row: Special) -> Judgement:
        """What a row of the table of special values says: nothing is computed."""
        entry = row.output if which == 0 else row.grads[which - 1]
        allowed = np.empty(got.shape, dtype=object)
        spread(allowed, (), entry, got.ndim)
        code, expected = np.full(got.shape, FREE, np.uint8), np.full(got.shape, np.nan)
        for i in np.ndindex(got.shape):
            if allowed[i] is not None:
                expected[i] = float(allowed[i][0])
                if any(_is(float(got[i]), a, 1.0) for a in allowed[i]):
                    code[i] = EXACT
                else:  # the sign of a zero is a special value, too
                    finite = all(map(math.isfinite, (got[i], expected[i])))
                    code[i] = VIOLATION if finite and got[i] != expected[i] else SPECIAL
        with np.errstate(invalid="ignore"):
            error = np.where((code == SPECIAL) | (code == VIOLATION), np.abs(got - expected), 0.0)
        error[np.isnan(error) | ((error == 0) & (code == SPECIAL))] = np.inf
        return Judgement(code, got, expected, np.zeros(got.shape), error, np.zeros(got.shape, np.uint8), [""])

    def _padded(self, which: int, got: np.ndarray, j: Judgement, rows: Any) -> None:
        """Zeros in the padding times infinity: the oracle leaves such products out, and where they are formed NaN is
        right, too."""
        c = self.case
        formed = run(_Formed(np.float64), c.op.algorithm(self.algorithm), c.inputs, c.params, c.cotangent)[which]
        here = (j.code == SPECIAL) & np.isnan(got) & np.isnan(np.asarray(formed)[rows])
        j.code[here], j.error[here] = EXACT, 0.0

    def _zero_cotangents(self, which: int, j: Judgement, rows: Any) -> None:
        """Where all cotangents that a gradient can depend on are zero, it is zero, or NaN where the zero meets a slope
        that is NaN or infinite: both are right, whatever the definition gives."""
        if not which:
            return
        c, x = self.case, self.case.inputs[which - 1]
        assert x is not None
        if c.op.rowwise(1, c.params) and x.shape == c.cotangent.shape:  # even the elements of a row are apart
            none = c.cotangent == 0
        elif x.ndim and c.op.rowwise(x.ndim, c.params):
            whole = (c.cotangent == 0).reshape(len(c.cotangent), -1).all(1)
            none = np.broadcast_to(whole.reshape(-1, *[1] * (x.ndim - 1)), x.shape)
        else:
            none = np.full(x.shape, not c.cotangent.any())
        either = none[rows] & (j.code == SPECIAL) & ((j.got == 0) | np.isnan(j.got))
        either &= (j.expected == 0) | np.isnan(j.expected)
        j.code[either], j.error[either] = EXACT, 0.0

    def _by_table(self, which: int, got: np.ndarray, j: Judgement, rows: Any) -> None:
        """What the definition does not give but the table of special values allows."""
        self._by_slices(which, got, j, rows)
        params, shape = self.case.params, self.case.cotangent.shape
        if not all(x is None or _broadcasts(x.shape, shape) for x in self.case.inputs):
            return  # no element of the result belongs to one element of each input
        for row in self.case.op.special:
            entry = row.output if which == 0 else row.grads[which - 1]
            if any(isinstance(v, list) for v in row.inputs) or any(params[k] != v for k, v in row.params.items()):
                continue
            if row.cotangent != 1:
                continue  # what holds for a NaN there, holds for no number
            here = j.code == SPECIAL
            for x, v in zip(self.case.inputs, row.inputs, strict=True):
                if x is not None:
                    same = np.broadcast_to((x == v) | (np.isnan(x) & (v != v)), shape)
                    here = here & same[rows]
            for i in map(tuple, np.argwhere(here)):
                factor = 1.0 if which == 0 else float(self.case.cotangent[rows][i])
                if entry is None:
                    j.code[i] = FREE
                elif any(_is(float(got[i]), a, factor) for a in (entry if isinstance(entry, tuple) else (entry,))):
                    j.code[i], j.error[i] = EXACT, 0.0

    def _by_slices(self, which: int, got: np.ndarray, j: Judgement, rows: Any) -> None:
        """The rows of the table that hold a slice along an axis: what they allow an element that is NaN, infinite or
        finite holds in every slice that has a NaN, one infinity or several, and nothing but -inf, as they do."""
        c, x = self.case, self.case.inputs[0]
        table = [(r, r.axis) for r in c.op.special if r.axis is not None and r.cotangent == 1]
        if not table or x is None or len(c.inputs) > 1:
            return
        allowed: dict[tuple[bytes, int], list[Any]] = {}
        for row, _ in table:
            seen = kinds_of(np.asarray(row.inputs[0], np.float64))
            entry = row.output if which == 0 else row.grads[which - 1]
            for kind, e in zip(seen.tolist(), entry if isinstance(entry, list) else [entry] * len(seen), strict=True):
                allowed.setdefault((signature(seen).tobytes(), kind), []).extend(e if isinstance(e, tuple) else (e,))
        axis = c.params[table[0][1]] % x.ndim
        kinds = np.moveaxis(kinds_of(x), axis, -1)
        reduced = c.cotangent.shape != x.shape  # one number for each slice
        g = c.cotangent.reshape(*kinds.shape[:-1], 1) if reduced else np.moveaxis(c.cotangent, axis, -1)
        g = np.broadcast_to(g if which else 1.0, kinds.shape).reshape(-1, kinds.shape[-1])
        kinds = kinds.reshape(g.shape)
        signatures, place = signature(kinds), np.arange(kinds.size)
        if which == 0 and reduced:
            place = np.arange(0, kinds.size, kinds.shape[-1]).reshape(c.cotangent.shape)[rows]
        else:
            moved = np.moveaxis(np.empty(x.shape), axis, -1).shape
            place = np.moveaxis(place.reshape(moved), -1, axis)[rows]
        for i in map(tuple, np.argwhere(j.code == SPECIAL)):
            slice_, within = divmod(int(place[i]), kinds.shape[-1])
            found = allowed.get((signatures[slice_].tobytes(), int(kinds[slice_, within])), [])
            if any(e is not None and _is(float(got[i]), e, float(g[slice_, within])) for e in found):
                j.code[i], j.error[i] = EXACT, 0.0

    def _conventions(self, which: int, got: np.ndarray, j: Judgement, rows: Any) -> None:
        """At a kink every share of the one-sided derivatives is sound, at a jump of the output either side; name the
        one that was followed. In a network with ties that is one for all elements, because nothing says which of them
        share a window: each alone would let the full gradient pass to every tied cell. A network that follows refnn's
        own choice is spared the others, each of which takes as long as the whole; its steps name them."""
        conventions = self.case.op.kinks
        if isinstance(self.case.op.convention, Mapping) and (j.code <= OK).all():
            return
        ties = all(isinstance(c, str) for c in conventions.values())
        if ties and which and self._ties(which, got, j, rows):
            return
        taken = {str(c): c for c in (*conventions.values(), *(() if ties else (0.0, 1.0)))}
        worst = {key: self._worst_case(self.algorithm, c) for key, c in taken.items()}
        ends = [w.results[which] for w in worst.values()]
        sides = np.asarray([e[0][rows] for e in ends if e is not None])
        lower, upper = np.min(sides, axis=0), np.max(sides, axis=0)  # NaN where a side is
        at_kink = ((sides != sides[0]) & ~(np.isnan(sides) & np.isnan(sides[0]))).any(axis=0)
        together = not ties and any(map(_has_ties, conventions.values()))
        for name, convention in conventions.items():
            follows = self._against(which, got, worst[str(convention)], convention, rows)
            hit = at_kink & (follows.code <= OK) & (j.name == 0)
            if not together or (hit == at_kink).all():
                self._name(j, follows, hit, name)
        if ties or together or which == 0:
            return
        slack = np.max([e[1][rows] for e in ends if e is not None], axis=0)
        between = at_kink & (j.name == 0) & (got >= lower - slack) & (got <= upper + slack)
        j.error = np.where(between, 0.0, j.error)  # no error: any share is sound
        j.call(between, CONVENTION, "between the one-sided derivatives")

    @staticmethod
    def _name(j: Judgement, follows: Judgement, where: np.ndarray, name: str | None = None) -> None:
        """What follows a convention is judged by it: by the one of that name, or as it was judged there."""
        for part in ("expected", "allowed", "error"):
            setattr(j, part, np.where(where, getattr(follows, part), getattr(j, part)))
        if name is not None:
            j.call(where, CONVENTION, name)
            return
        for number, known in enumerate(follows.names):
            for code in np.unique(follows.code[where & (follows.name == number)]).tolist():
                j.call(where & (follows.name == number) & (follows.code == code), code, known)

    def _ties(self, which: int, got: np.ndarray, j: Judgement, rows: Any) -> bool:
        """Cells that are tied, directly or over others, follow one convention together, or some weights in the simplex
        explain them all. False where an op does more than send its cotangent to maxima."""
        c = self.case
        sent = shares(c.op, c.inputs, c.params, c.cotangent, which - 1)
        if sent is None:
            return False
        x = c.inputs[which - 1]
        assert x is not None
        labels = sent.components(x.size)
        label = labels.reshape(x.shape)[rows]
        open_ = label >= 0
        for name, convention in c.op.kinks.items():
            if not open_.any():
                return True
            follows = j
            if convention != self.case.op.convention:
                follows = self._against(which, got, self._worst_case(self.algorithm, convention), convention, rows)
            hit = open_ & ~np.isin(label, label[open_ & ~(follows.code <= OK)])
            self._name(j, follows, hit, name)
            open_ &= ~hit
        loosest = self._worst_case(self.algorithm, "any").results[which]
        assert loosest is not None
        flat = [a.ravel() for a in (np.arange(x.size).reshape(x.shape)[rows], got, np.asarray(loosest[1])[rows])]
        entries, places = grouped(labels[sent.cell]), grouped(label.ravel())
        explained = [
            n for n in np.unique(label[open_]).tolist() if sent.explain(entries[n], *(a[places[n]] for a in flat))
        ]
        free = np.isin(label, explained)
        j.error = np.where(free, 0.0, j.error)
        j.call(free, CONVENTION, "tie=weights in the simplex")
        return True

    def under(self, name: str, which: int, j: Judgement, rows: Any) -> tuple[np.ndarray, np.ndarray]:
        """Where a declared class gives what was got, by its worst case and its expected error; and where nothing is
        known of it, because something overflows in it."""
        with np.errstate(all="ignore"):
            worst = self._worst_case(name, self.case.op.convention)
            other = self._against(which, j.got, worst, self.case.op.convention, rows)
            inside = _unexplained(j) & (other.code <= OK)
            if self._random(which) and inside.any():
                inside &= ~self._beyond(which, name, worst, j, rows, inside)
            return inside, _unexplained(j) & (other.code == SCOPE)


@dataclass(frozen=True, eq=False)
class Part:
    """Some rows of a result, judged, with the judge of its piece of the case."""

    judge: Judge
    judgement: Judgement
    piece: Case
    first_row: int
    rows: Any


def explain(which: int, parts: list[Part], classes: Iterable[str]) -> None:
    """The first declared class that explains all of one result that the accurate one does not. What it knows nothing of
    is left open, if it explains anything; where none does, the first that knows nothing of all of it. A class explains
    a whole result or none of it: an implementation does not change its algorithm from element to element."""
    best: tuple[str, list[tuple[np.ndarray, np.ndarray]]] | None = None
    for name in classes:
        found = []
        for p in parts:
            found.append(p.judge.under(name, which, p.judgement, p.rows))
            if (_unexplained(p.judgement) & ~(found[-1][0] | found[-1][1])).any():
                break
        else:
            explains = any(inside.any() for inside, _ in found)
            if explains or best is None:
                best = name, found
            if explains:
                break
    if best is None:
        return
    name, found = best
    for p, (inside, unknown) in zip(parts, found, strict=True):
        j = p.judgement
        # No sound algorithm makes NaN or infinity of a number, or NaN of an infinity.
        sound = np.where(np.isnan(j.got), np.isnan(j.expected), np.isfinite(j.got) | ~np.isfinite(j.expected))
        j.call(inside & sound, EXPLAINED, name)
        finite = np.isfinite(j.got) & np.isfinite(j.expected)
        j.call(unknown & finite, SCOPE, f"unknown under the class {name}, where something overflows")


def why_unknown(worst: WorstCase) -> str:
    """What may overflow, the commonest first."""
    return "; ".join(what for what, _ in Counter(worst.unknown).most_common(2)) or "an input is beyond the range"


def _has_ties(convention: Convention) -> bool:
    """Whether a convention says which of several maxima count, for an op or for some op of a network."""
    return any(map(_has_ties, convention.values())) if isinstance(convention, Mapping) else isinstance(convention, str)


def _broadcasts(shape: tuple[int, ...], full: tuple[int, ...]) -> bool:
    """Whether an array of that shape gives one element for each place of the full one."""
    return len(shape) <= len(full) and all(n in (1, m) for n, m in zip(shape[::-1], full[::-1], strict=False))


def spread(into: np.ndarray, place: tuple[int, ...], entry: Any, ndim: int) -> None:
    """An entry of a table of special values as a set for each element; what is said of a whole holds for its parts."""
    if isinstance(entry, list):
        for i, e in enumerate(entry):
            spread(into, (*place, i), e, ndim)
    elif len(place) < ndim:
        for i in range(into.shape[len(place)]):
            spread(into, (*place, i), entry, ndim)
    else:
        into[place] = entry if entry is None or isinstance(entry, tuple) else (entry,)


def kinds_of(x: np.ndarray) -> np.ndarray:
    """-inf, a finite number, inf, NaN as 0 to 3."""
    return np.where(np.isnan(x), 3, np.where(np.isinf(x), 1 + np.sign(x), 1)).astype(np.int64)


def signature(kinds: np.ndarray) -> np.ndarray:
    """For each slice along the last axis: whether there is a NaN, an infinity or several, anything but -inf."""
    return np.stack([(kinds == 3).any(-1), np.minimum((kinds == 2).sum(-1), 2), (kinds > 0).any(-1)], axis=-1).astype(
        np.int64
    )


def _is(got: float, allowed: float | str, factor: float) -> bool:
    """Whether `got` is an allowed number times `factor`; "+0" and "-0" insist on the sign."""
    wanted = float(allowed) * factor
    if isinstance(allowed, str):
        return got == wanted and math.copysign(1.0, got) == math.copysign(1.0, wanted)
    return got == wanted or (math.isnan(got) and math.isnan(wanted))


def _unexplained(j: Judgement) -> np.ndarray:
    return (j.code == SUSPECT) | (j.code == VIOLATION) | (j.code == SPECIAL)


# --- reporting -------------------------------------------------------------------------------------------------------


class Tally:
    """The result and the findings of one output or gradient, gathered piece by piece."""

    def __init__(self, case: Case, what: str, fmt: Format, replay: str) -> None:
        self.case, self.what, self.fmt, self.replay = case, what, fmt, replay
        self.counts = np.zeros(len(NAMES), np.int64)
        self.bins: dict[int, int] = {}
        self.worst, self.seconds = 0.0, 0.0
        self.alike: dict[tuple[int, str], list[Finding]] = {}
        self.scope: Counter[str] = Counter()

    def add(self, j: Judgement, piece: Case, first_row: int, rows: Any, seconds: float) -> None:
        """Add the verdicts of some `rows` of a piece of the case, which begins at its `first_row`."""
        self.seconds += seconds
        if not j.code.size:
            return
        exact, ok = (int(np.count_nonzero(j.code == c)) for c in (EXACT, OK))
        plain = exact + ok == j.code.size
        self.counts += (
            [exact, ok, *[0] * (len(NAMES) - 2)] if plain else np.bincount(j.code.ravel(), minlength=len(NAMES))
        )
        with np.errstate(all="ignore"):
            ratio = np.asarray(j.error / j.allowed)  # NaN where both are zero
        inside = np.ascontiguousarray(ratio if plain else ratio[(j.code <= SUSPECT) & np.isfinite(ratio)]).ravel()
        self.worst = max(self.worst, float(np.fmax.reduce(inside, initial=0.0)))
        # The exponent field of a float64 is floor(log2) + 1023: 0 for zero, 2047 for NaN.
        exponents = np.bincount((inside.view(np.int64) >> 52) & 2047, minlength=2048)
        for biased in np.flatnonzero(exponents[1:2047]) + 1:
            b = int(biased) - 1023
            self.bins[b] = self.bins.get(b, 0) + int(exponents[biased])
        for why in np.unique(j.name[j.code == SCOPE]).tolist():
            self.scope[j.names[why]] += int(np.count_nonzero((j.code == SCOPE) & (j.name == why)))
        if not plain:
            self._find(j, np.where(j.error == 0, 0.0, ratio), piece, first_row, 0 if rows is ... else rows.start)

    def _find(self, j: Judgement, ratio: np.ndarray, piece: Case, first_row: int, offset: int) -> None:
        codes, names = j.code.ravel(), j.name.ravel()
        pairs = codes.astype(np.int64) * len(j.names) + names
        for pair in np.unique(pairs[(codes > OK) & (codes < SCOPE)]):
            code, name = divmod(int(pair), len(j.names))
            alike = np.flatnonzero(pairs == pair)
            order = np.argsort(-np.nan_to_num(ratio.ravel()[alike], nan=np.inf, posinf=np.inf), kind="stable")
            most = 1 if code == CONVENTION else KEPT
            kept = alike[order[:most]]
            found = [self._finding(j, ratio, piece, int(flat), code, j.names[name], first_row, offset) for flat in kept]
            before = self.alike.get((code, j.names[name]), [])
            count = sum(f.count for f in before) + len(alike)
            ranked = sorted([*before, *found], key=lambda f: -np.nan_to_num(f.ratio, nan=np.inf))
            self.alike[code, j.names[name]] = [
                replace(f, count=count if i == 0 else 0) for i, f in enumerate(ranked[:most])
            ]

    def _finding(
        self, j: Judgement, ratio: np.ndarray, piece: Case, flat: int, code: int, name: str, first_row: int, offset: int
    ) -> Finding:
        index = tuple(int(i) for i in np.unravel_index(flat, j.got.shape))
        in_piece = (index[0] + offset, *index[1:]) if index else index
        in_case = (in_piece[0] + first_row, *in_piece[1:]) if index else index
        expected = float(j.expected[index])
        with np.errstate(all="ignore"):
            ulps = float(j.error[index] / self.fmt.ulp(expected))
        return Finding(
            *place(self.case, self.what),
            verdict=NAMES[code],
            index=in_case,
            got=float(j.got[index]),
            expected=expected,
            allowed=float(j.allowed[index]),
            error=float(j.error[index]),
            ratio=float(ratio[index]),
            ulps=ulps,
            name=name,
            message="undecided at the highest precision" if code == ERROR else "",
            equation=next(iter(self.case.op.equations), ""),
            inputs=_values_at(piece, in_piece, self.what),
            replay=self.replay,
            count=0,
        )

    def result(self) -> Result:
        verdicts = {NAMES[c]: int(n) for c, n in enumerate(self.counts) if n and NAMES[c]}
        return Result(
            *place(self.case, self.what),
            verdicts=verdicts,
            worst_ratio=self.worst,
            histogram=dict(sorted(self.bins.items())),
            seconds=self.seconds,
            scope=dict(self.scope.most_common()),
        )

    def findings(self) -> list[Finding]:
        """The worst of each kind, each with how many elements it stands for (the first for all that are not shown)."""
        shown = []
        for kind in sorted(self.alike):
            first, *rest = self.alike[kind]
            shown.append(replace(first, count=first.count - len(rest)))
            shown.extend(replace(f, count=1) for f in rest)
        return shown


def _blocks(x: np.ndarray) -> Iterator[Any]:
    """Slices of the first axis, small enough to be judged in a core's cache."""
    if x.size < 2 * BLOCK or not x.ndim:
        yield ...
        return
    rows = max(1, BLOCK * x.shape[0] // x.size)
    for first in range(0, x.shape[0], rows):
        yield slice(first, first + rows)


def place(case: Case, what: str) -> tuple[str, str, str, str, str]:
    """The first fields of results and findings."""
    return case.id, case.op.name, case.cotangent.dtype.name, case.family, what


def _values_at(case: Case, index: tuple[int, ...], what: str) -> dict[str, float]:
    """The inputs, and the cotangent, that stand at the same place as a result."""
    named = {**dict(zip(case.op.inputs, case.inputs, strict=True)), "cotangent": case.cotangent}
    result = named["cotangent" if what == "output" else what[5:-1]]
    shape = None if result is None else result.shape
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
    """The results and findings of one case, and the judge who reached them (of its last piece, where it was taken in
    pieces). `line` is the number of standard deviations that is beyond suspicion.
    """
    started = time.perf_counter()
    got, complaints = call(forward, vjp, case)
    if case.cotangent.size > BLOCK or max(x.size for x in case.inputs if x is not None) > BLOCK:
        keep_freed_memory()
    names = ["output", *(f"grad[{n}]" for n in case.op.inputs)]
    tallies = [None if g is None else Tally(case, n, model_.storage, replay) for g, n in zip(got, names, strict=True)]
    waiting: dict[int, list[Part]] = {}  # what no class was asked about yet
    classes = case.op.classes if algorithm == "accurate" and case.row is None else {}
    first_row = 0
    for inputs, cotangent in chunks(case.op, case.inputs, case.params, case.cotangent):
        assert cotangent is not None
        piece = case if cotangent is case.cotangent else replace(case, inputs=inputs, cotangent=cotangent)
        judge = Judge(piece, model_, algorithm, line)
        size = cotangent.shape[0] if piece is not case else 0
        for which, (tally, value) in enumerate(zip(tallies, got, strict=True)):
            if tally is None:
                continue
            part = value if piece is case else value[first_row : first_row + size]
            for rows in _blocks(part):
                judgement = judge.judge(which, np.asarray(part[rows], np.float64), rows)
                if classes and _unexplained(judgement).any():
                    waiting.setdefault(which, []).append(Part(judge, judgement, piece, first_row, rows))
                    continue
                now = time.perf_counter()
                tally.add(judgement, piece, first_row, rows, now - started)
                started = now
        first_row += size
    for which, parts in waiting.items():
        explain(which, parts, classes)
        tally = tallies[which]
        assert tally is not None
        for p in parts:
            now = time.perf_counter()
            tally.add(p.judgement, p.piece, p.first_row, p.rows, now - started)
            started = now
    results = [t.result() for t in tallies if t is not None]
    findings = [f for t in tallies if t is not None for f in t.findings()]
    for what, message in complaints:
        results.append(Result(*place(case, what), verdicts={"error": 1}))
        findings.append(Finding(*place(case, what), verdict="error", message=message, replay=replay))
    return results, findings, judge
