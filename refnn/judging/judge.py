"""Judging: what an implementation returned for one case, against the oracle, element by element.

The truth is that of `refnn.oracle.truth`, or the float64 midpoints of the worst-case balls where those are known to be
close enough: for a model coarser than float64 every local error of the midpoints is at most 2**-26 of the model's own
(2**-29 from the unit roundoffs, 2**3 at most from the ulps of NumPy's functions), and the rules by which balls grow are
convex in those errors and zero where they are, so the midpoint lies within 2**-26 of the radius around the truth. Not
where rounding decides the side of a kink, and not where a result on the way overflows.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from refnn.arithmetic import Convention
from refnn.arithmetic.floats import Floats
from refnn.arithmetic.windows import Contraction
from refnn.formats import Format
from refnn.judging.case import Case
from refnn.judging.special import broadcasts, is_allowed, kinds_of, signature, slices, spread
from refnn.judging.verdict import (
    CONVENTION,
    ERROR,
    EXACT,
    EXPLAINED,
    FREE,
    OK,
    SCOPE,
    SPECIAL,
    SUSPECT,
    VIOLATION,
    Judgement,
    unexplained,
)
from refnn.models import Model
from refnn.op import Special
from refnn.ops._shared import axes_of
from refnn.oracle.allowance import Expected, WorstCase, expected_error, worst_case
from refnn.oracle.evaluate import Rows, run
from refnn.oracle.ties import grouped, has_ties, shares
from refnn.oracle.truth import Value, half_gap, refine

CLOSE = 2.0**-26  # how far the midpoint of a ball may be from the truth, in radii, for models coarser than float64
SLACK = 2.0**-48  # relative; covers the float64 roundings made while an error is compared with its allowance


class _Formed(Floats):
    """Floats with every product that an implementation may form with the zeros of a padding."""

    def contract(self, form: Contraction, a: np.ndarray, b: np.ndarray, plus: np.ndarray | None = None) -> np.ndarray:
        result = np.asarray(super().contract(form, a, b, plus))
        if not form.around:
            return result
        met = form.apply(np.matmul, np.ones(a.shape), (~np.isfinite(b)).astype(float)) > 0
        return np.asarray(np.where(met.any(form.around, keepdims=True), np.nan, result))


class Judge:
    """The oracle for one case, or for its tangents: truth and allowances, each computed when it is first needed."""

    def __init__(self, case: Case, model_: Model, algorithm: str, line: float) -> None:
        self.case, self.model, self.algorithm, self.line = case, model_, algorithm, line
        self.storage: Format = model_.storage
        self.special_inputs = any(
            x is not None and x.dtype.kind not in "biu" and not np.isfinite(x).all()
            for x in (*case.inputs, case.cotangent)
        )
        self.special_inputs |= any(
            x is not None and bool(np.isin(x, declared.poles).any())
            for x, declared in zip(case.inputs, case.op.inputs.values(), strict=True)
            if declared.poles
        )
        self._lines: dict[str, list[Expected | None]] = {}
        self._worst: dict[tuple[str, str], WorstCase] = {}
        # Of each convention the truths that were computed, and what computes the next.
        self._refined: dict[str, tuple[list[list[Value | None]], Iterator[list[Value | None]]]] = {}
        with np.errstate(all="ignore"):
            self.worst = self._worst_case(algorithm, case.op.convention)

    def _worst_case(self, algorithm: str, convention: Convention) -> WorstCase:
        key = algorithm, str(convention)
        if key not in self._worst:
            self._worst[key] = worst_case(self.case.call(algorithm, convention), self.model)
        return self._worst[key]

    def _truths(self, which: int, convention: Convention) -> Iterator[Value]:
        """The truth of one result with more and more digits; all results of each precision are computed once."""
        call = self.case.call(self.algorithm, convention)
        known, more = self._refined.setdefault(str(convention), ([], refine(call)))
        for n in itertools.count():
            known.extend(itertools.islice(more, int(n == len(known))))
            if n == len(known):
                return
            value = known[n][which]
            assert value is not None
            yield value

    def _random(self, which: int) -> bool:
        """Whether an expected error means something: for the output whatever the cotangent is."""
        return self.case.random and (which == 0 or self.case.random_cotangent)

    def expected_line(self, which: int, algorithm: str, rows: Rows, wanted: np.ndarray) -> np.ndarray:
        """What an error exceeds with less than the allotted probability, where roundings are independent: for the
        `wanted` elements of some rows, and NaN for others."""
        c, call = self.case, self.case.call(algorithm)
        x = c.inputs[0]
        if x is not None and c.op.rowwise(x.ndim, c.params):
            some = np.asarray(wanted.reshape(len(wanted), -1).any(1))
            line = np.full(wanted.shape, np.nan)
            line[some] = self._beyond_suspicion(expected_error(call.rows(rows).rows(some), self.model)[which])
            return line
        if algorithm not in self._lines:
            self._lines[algorithm] = expected_error(call, self.model)
        return self._beyond_suspicion(self._lines[algorithm][which], rows)

    def _beyond_suspicion(self, expected: Expected | None, rows: Rows = ...) -> np.ndarray:
        assert expected is not None
        std, library = expected
        return np.asarray(self.line * std[rows] + library[rows])

    def _beyond(
        self, which: int, algorithm: str, worst: WorstCase, j: Judgement, rows: Rows, wanted: np.ndarray
    ) -> np.ndarray:
        """Where the error is beyond the expected line of an algorithm. A line that is NaN says nothing. Nor does a line
        that the algorithm's own middle is beyond, because a partial result overflowed."""
        line = np.maximum(self.expected_line(which, algorithm, rows, wanted), self._one_rounding(which, j))
        beyond = np.asarray(j.error > line)
        if worst.overflows:
            result = worst.results[which]
            assert result is not None
            beyond &= np.abs(np.asarray(result[0])[rows] - j.expected) <= line
        return beyond

    def _one_rounding(self, which: int, j: Judgement) -> np.ndarray:
        """What the last rounding and the elementary functions alone let pass: no line of any result is below."""
        last = self.line * self.storage.unit_roundoff / math.sqrt(3)
        return np.asarray((last + self.worst.library[which] * self.model.compute.unit_roundoff) * np.abs(j.expected))

    def judge(self, which: int, got: np.ndarray, rows: Rows = ...) -> Judgement:
        """The verdicts for the output (`which` = 0) or the gradient of input `which - 1`; `got` holds the `rows` of it
        as float64."""
        if self.case.row is not None:
            j = self._by_row(which, got, self.case.row)
            if (wrong := unexplained(j)).any():  # at a kink the table, too, takes what is sound everywhere
                as_usual = self._judge(which, got, rows)
                # The table is that of the op; another algorithm may overflow elsewhere.
                sound = as_usual.code <= CONVENTION if self.algorithm != "accurate" else as_usual.code == CONVENTION
                self._name(j, as_usual, wrong & (sound | (as_usual.code == SCOPE)))
                self._zero_cotangents(which, j, rows)
            return j
        return self._judge(which, got, rows)

    def _judge(self, which: int, got: np.ndarray, rows: Rows) -> Judgement:
        with np.errstate(all="ignore"):
            j = self._against(which, got, self.worst, self.case.op.convention, rows)
            if self.worst.kinks and self.case.op.kinks:
                self._conventions(which, got, j, rows)
            if self._random(which):
                suspicious = (j.code == OK) & (j.error > self._one_rounding(which, j))
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

    def _against(self, which: int, got: np.ndarray, worst: WorstCase, convention: Convention, rows: Rows) -> Judgement:
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
        rows: Rows,
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
            return np.asarray((got == value) & ((spread == 0) | (half_gap(value) > spread * (1 + SLACK))))
        wider = spread * (1 + SLACK)
        # The sums below round in float64, and the cast to bfloat16 rounds to float32 on its way: moved apart by more
        # than either, both ends round alike only where the whole interval does.
        wider += np.abs(value) * (2.0**-24 if self.storage.name == "bfloat16" else 2.0**-52)
        stored = got.astype(self.storage.dtype)  # exact: it came from there
        ends = ((value - wider).astype(stored.dtype), (value + wider).astype(stored.dtype))
        nearest = np.asarray((ends[0] == stored) & (ends[1] == stored))
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
                if any(is_allowed(float(got[i]), a, 1.0) for a in allowed[i]):
                    code[i] = EXACT
                else:  # the sign of a zero is a special value, too
                    finite = all(map(math.isfinite, (got[i], expected[i])))
                    code[i] = VIOLATION if finite and got[i] != expected[i] else SPECIAL
        with np.errstate(invalid="ignore"):
            error = np.where((code == SPECIAL) | (code == VIOLATION), np.abs(got - expected), 0.0)
        error[np.isnan(error) | ((error == 0) & (code == SPECIAL))] = np.inf
        return Judgement(code, got, expected, np.zeros(got.shape), error, np.zeros(got.shape, np.uint8), [""])

    def _padded(self, which: int, got: np.ndarray, j: Judgement, rows: Rows) -> None:
        """Zeros in the padding times infinity: the oracle leaves such products out, and where they are formed NaN is
        right, too."""
        formed = run(_Formed(np.float64), self.case.call(self.algorithm))[which]
        here = (j.code == SPECIAL) & np.isnan(got) & np.isnan(np.asarray(formed)[rows])
        j.code[here], j.error[here] = EXACT, 0.0

    def _zero_cotangents(self, which: int, j: Judgement, rows: Rows) -> None:
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

    def _by_table(self, which: int, got: np.ndarray, j: Judgement, rows: Rows) -> None:
        """What the definition does not give but the table of special values allows."""
        self._by_slices(which, got, j, rows)
        params, shape = self.case.params, self.case.cotangent.shape
        if not all(x is None or broadcasts(x.shape, shape) for x in self.case.inputs):
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
                elif any(
                    is_allowed(float(got[i]), a, factor) for a in (entry if isinstance(entry, tuple) else (entry,))
                ):
                    j.code[i], j.error[i] = EXACT, 0.0

    def _by_slices(self, which: int, got: np.ndarray, j: Judgement, rows: Rows) -> None:
        """The rows of the table that hold a slice along an axis, or along several: what they allow an element that is
        NaN, infinite or finite holds in every slice that has a NaN, one infinity or several, and nothing but -inf, as
        they do. Of a slice of finite numbers they say nothing."""
        c, x = self.case, self.case.inputs[0]
        table = [(r, r.axis) for r in c.op.special if r.axis is not None and r.cotangent == 1]
        if not table or x is None or not x.size or len(c.inputs) > 1:
            return
        allowed: dict[tuple[bytes, int], list[Any]] = {}
        for row, _ in table:
            seen = kinds_of(np.asarray(row.inputs[0], np.float64))
            entry = row.output if which == 0 else row.grads[which - 1]
            for kind, e in zip(seen.tolist(), entry if isinstance(entry, list) else [entry] * len(seen), strict=True):
                allowed.setdefault((signature(seen).tobytes(), kind), []).extend(e if isinstance(e, tuple) else (e,))
        axes = axes_of(x.ndim, c.params[table[0][1]])
        kinds = slices(kinds_of(x), axes)
        reduced = c.cotangent.shape != x.shape  # one number for each slice
        g = c.cotangent.reshape(-1, 1) if reduced else slices(c.cotangent, axes)
        g = np.broadcast_to(g if which else 1.0, kinds.shape)
        signatures, place = signature(kinds), np.arange(kinds.size)
        if which == 0 and reduced:
            place = place[:: kinds.shape[1]].reshape(c.cotangent.shape)[rows]
        else:
            place = np.argsort(slices(place.reshape(x.shape), axes), axis=None).reshape(x.shape)[rows]
        for i in map(tuple, np.argwhere(j.code == SPECIAL)):
            slice_, within = divmod(int(place[i]), kinds.shape[-1])
            if (kinds[slice_] == kinds_of(np.zeros(1))).all():
                continue
            found = allowed.get((signatures[slice_].tobytes(), int(kinds[slice_, within])), [])
            if any(e is not None and is_allowed(float(got[i]), e, float(g[slice_, within])) for e in found):
                j.code[i], j.error[i] = EXACT, 0.0

    def _conventions(self, which: int, got: np.ndarray, j: Judgement, rows: Rows) -> None:
        """Name the convention that an implementation follows at kinks and jumps.

        At a kink every value between the one-sided derivatives is sound, and where the output jumps, either side. In a
        network with ties all elements must follow one convention: nothing says which of them share a window, and
        elements judged one by one could each take the full gradient. If a network follows refnn's own convention, the
        others are not computed, because each takes as long as the whole check. The stepwise check then names it.
        """
        conventions = self.case.op.kinks
        if isinstance(self.case.op.convention, Mapping) and (j.code <= OK).all():
            return
        ties = all(isinstance(c, str) for c in conventions.values())
        tangents = self.case.tangents is not None
        if ties and which and not tangents and self._ties(which, got, j, rows):
            return
        taken = {str(c): c for c in (*conventions.values(), *(() if ties else (0.0, 1.0)))}
        worst = {key: self._worst_case(self.algorithm, c) for key, c in taken.items()}
        ends = [w.results[which] for w in worst.values()]
        sides = np.asarray([e[0][rows] for e in ends if e is not None])
        lower, upper = np.min(sides, axis=0), np.max(sides, axis=0)  # NaN where a side is
        at_kink = ((sides != sides[0]) & ~(np.isnan(sides) & np.isnan(sides[0]))).any(axis=0)
        together = not ties and any(map(has_ties, conventions.values()))
        for name, convention in conventions.items():
            follows = self._against(which, got, worst[str(convention)], convention, rows)
            hit = at_kink & (follows.code <= OK) & (j.name == 0)
            if not together or (hit == at_kink).all():
                self._name(j, follows, hit, name)
        if ties or together or (which == 0 and not tangents):
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

    def _ties(self, which: int, got: np.ndarray, j: Judgement, rows: Rows) -> bool:
        """Cells that are tied, directly or over others, follow one convention together, or some weights in the simplex
        explain them all. False where an op does more than send its cotangent to maxima."""
        c = self.case
        sent = shares(c.call(), which - 1)
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
        # The worst case knows the sizes of one convention; a result of others is rounded where it lies itself.
        allowed = np.asarray(loosest[1])[rows] + np.asarray(self.storage.ulp(got)) / 2
        flat = [a.ravel() for a in (np.arange(x.size).reshape(x.shape)[rows], got, allowed)]
        entries, places = grouped(labels[sent.cell]), grouped(label.ravel())
        explained = [
            n for n in np.unique(label[open_]).tolist() if sent.explain(entries[n], *(a[places[n]] for a in flat))
        ]
        free = np.isin(label, explained)
        j.error = np.where(free, 0.0, j.error)
        j.call(free, CONVENTION, "tie=weights in the simplex")
        return True

    def under(self, name: str, which: int, j: Judgement, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        """The elements that a declared algorithm explains, by its worst case and its expected error; and those for
        which its bound is unknown, because something overflows in it."""
        with np.errstate(all="ignore"):
            worst = self._worst_case(name, self.case.op.convention)
            other = self._against(which, j.got, worst, self.case.op.convention, rows)
            inside = unexplained(j) & (other.code <= OK)
            if self._random(which) and inside.any():
                inside &= ~self._beyond(which, name, worst, j, rows, inside)
            return inside, unexplained(j) & (other.code == SCOPE)


@dataclass(frozen=True, eq=False)
class Part:
    """Some rows of a result, judged, with the judge of its piece of the case."""

    judge: Judge
    judgement: Judgement
    piece: Case
    first_row: int
    rows: Rows


def explain(which: int, parts: list[Part], classes: Iterable[str]) -> None:
    """Find the first declared algorithm that explains every element of one result that the accurate one does not.

    An algorithm explains a whole result or none of it: an implementation does not change its algorithm from element to
    element. Elements for which its bound is unknown are out of scope, if it explains any other element. If no algorithm
    explains an element, the first one whose bound is unknown for all of them takes them out of scope.
    """
    best: tuple[str, list[tuple[np.ndarray, np.ndarray]]] | None = None
    for name in classes:
        found = []
        for p in parts:
            found.append(p.judge.under(name, which, p.judgement, p.rows))
            if (unexplained(p.judgement) & ~(found[-1][0] | found[-1][1])).any():
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
        j.call(unknown & finite, SCOPE, f"unknown by the algorithm {name}, in which something overflows")


def why_unknown(worst: WorstCase) -> str:
    """What may overflow, the most common first."""
    return "; ".join(what for what, _ in Counter(worst.unknown).most_common(2)) or "an input is beyond the range"
