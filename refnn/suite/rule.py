"""The comparison rule of conformance/FORMAT.md: the verdict on a result from the files alone.

It knows the worst case only. `refnn.judging.judge` knows more (the expected error, the name of a convention). Where
both give a verdict, they agree. Here an algorithm explains
element by element.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from refnn.formats import FORMATS
from refnn.judging.verdict import CONVENTION, EXACT, EXPLAINED, FREE, OK, SPECIAL, VIOLATION, Judgement
from refnn.suite.fixture import Claim, Expected


def accepts(claim: Claim, got: np.ndarray, dtype: str) -> np.ndarray:
    """Which elements of `got` (float64, at the places of the claim) a claim accepts in a working format.

    A comparison with NaN is false, so NaN passes only where the class letter asks for it.
    """
    bound, hi, lo = claim.bounds[dtype], claim.hi, claim.lo
    with np.errstate(all="ignore"):
        passed = np.abs((got - hi) - lo) <= bound
        for letter in set(claim.letters) - {"f"}:
            here = claim.is_letter(letter)
            passed[here] = _OTHERS[letter](got, hi, lo, bound)[here] if letter in _OTHERS else False
    return passed


# What each letter accepts besides "f", which is near hi + lo.
_OTHERS: Mapping[str, Callable[..., np.ndarray]] = {
    "r": lambda got, hi, lo, bound: (got >= np.minimum(hi, lo) - bound) & (got <= np.maximum(hi, lo) + bound),
    "n": lambda got, *_: np.isnan(got),
    "p": lambda got, *_: got == np.inf,
    "m": lambda got, *_: got == -np.inf,
    "z": lambda got, *_: (got == 0) & ~np.signbit(got),
    "Z": lambda got, *_: (got == 0) & np.signbit(got),
    "*": lambda got, *_: np.ones(got.shape, bool),
}
CODES = {"special": EXACT, "convention": CONVENTION, "class": EXPLAINED}  # of what an alternative claim accepts
VALUES = {"n": np.nan, "p": np.inf, "m": -np.inf, "z": 0.0, "Z": -0.0}  # of the letters that are no numbers


def judge(expected: Expected, got: np.ndarray, dtype: str, conventions: Mapping[str, float] | None = None) -> Judgement:
    """The verdicts of a result in the working format `dtype`: of its elements, or of those that are sampled.

    What only another algorithm explains is shown with its distance from the accurate one.
    """
    main = expected.main
    with np.errstate(invalid="ignore"):  # a NaN read from somewhere may be a signalling one
        got = np.asarray(got, np.float64).ravel()
    got = got if main.at is None else got[main.at]
    odd = np.logical_or.reduce([main.is_letter(c) for c in VALUES])
    passed, allowed = accepts(main, got, dtype), np.array(main.bounds[dtype])
    with np.errstate(all="ignore"):
        error = np.abs((got - main.hi) - main.lo)
    code = np.where(odd | (~np.isfinite(got) & np.isfinite(main.hi)), SPECIAL, VIOLATION).astype(np.uint8)
    code[passed] = np.where(_nearest(main, got, dtype) | odd, EXACT, OK)[passed]
    error[passed & ~main.is_letter("f")] = 0.0
    error[odd & ~passed] = np.inf
    values = np.select([main.is_letter(c) for c in VALUES], [*VALUES.values()], main.hi) if odd.any() else main.hi
    j = Judgement(code, got, values, allowed, error, np.zeros(got.shape, np.uint8), [""])
    if "r" in main.letters:
        inside = passed & main.is_letter("r")
        followed = _followed(main, got, conventions or {})
        for name in dict.fromkeys(followed[inside]):
            j.call(inside & (followed == name), CONVENTION, name)
    for claim in expected.also:
        if claim.at is None or dtype not in claim.bounds:
            continue
        better = accepts(claim, got[claim.at], dtype) & np.isin(j.code[claim.at], [VIOLATION, SPECIAL])
        here = np.zeros(got.shape, bool)
        here[claim.at[better]] = True
        j.call(here, CODES[claim.kind], claim.name)
        if claim.kind != "class":
            with np.errstate(all="ignore"):
                j.error[claim.at[better]] = np.abs((got[claim.at] - claim.hi) - claim.lo)[better]
            j.allowed[claim.at[better]] = claim.bounds[dtype][better]
    for group in expected.groups:
        with np.errstate(all="ignore"):
            off = np.abs((np.sum(got[group.at]) - group.hi) - group.lo)
        if not off <= group.bounds[dtype]:
            here = np.zeros(got.shape, bool)
            here[group.at] = True
            j.call(here, VIOLATION, "tied elements do not share what there is")
            j.error[group.at], j.allowed[group.at] = off, group.bounds[dtype]
    j.code[main.is_letter("*")] = FREE
    return j


def _nearest(claim: Claim, got: np.ndarray, dtype: str) -> np.ndarray:
    """Where `got` is the number of the format nearest `hi + lo`; hi is the nearest float64."""
    if dtype == "float64":
        return got == claim.hi
    # Rounded to odd first (Boldo and Melquiond, IEEE Trans. Comput. 57 (2008) 462), or a value next to the middle of
    # two numbers of the narrower format would round twice.
    beyond = np.nextafter(claim.hi, np.copysign(np.inf, claim.lo))
    odd = np.where((claim.lo == 0) | (claim.hi.view(np.int64) & 1 == 1), claim.hi, beyond)
    with np.errstate(over="ignore"):
        return got == odd.astype(FORMATS[dtype].dtype)


def _followed(claim: Claim, got: np.ndarray, conventions: Mapping[str, float]) -> np.ndarray:
    """The convention that each element of a range follows: hi is what holds below the kink, lo what holds above."""
    names = np.full(got.shape, "between the one-sided derivatives", dtype=object)
    with np.errstate(all="ignore"):
        for name, share in reversed([*conventions.items()]):
            names[got == claim.hi + share * (claim.lo - claim.hi)] = name
    return names
