"""The comparison rule of conformance/FORMAT.md: the verdict on a result from the files alone.

It knows the worst case only. `refnn.judging.judge` knows more (the expected error, the name of a convention). Where
both give a verdict, they agree.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from refnn.formats import FORMATS
from refnn.suite.fixture import Claim, Expected


def accepts(claim: Claim, got: np.ndarray, dtype: str) -> np.ndarray:
    """Which elements of `got` (float64, at the places of the claim) a claim accepts in a working format.

    A comparison with NaN is false, so NaN passes only where the class letter asks for it.
    """
    letter = np.array([*claim.letters], dtype="U1")
    bound, hi, lo = claim.bounds[dtype], claim.hi, claim.lo
    with np.errstate(all="ignore"):
        return np.select(
            [letter == c for c in "frnpmzZ*"],
            [
                np.abs((got - hi) - lo) <= bound,
                (got >= np.minimum(hi, lo) - bound) & (got <= np.maximum(hi, lo) + bound),
                np.isnan(got),
                got == np.inf,
                got == -np.inf,
                (got == 0) & ~np.signbit(got),
                (got == 0) & np.signbit(got),
                np.ones(got.shape, bool),
            ],
            False,
        )


@dataclass(frozen=True, eq=False)
class Verdict:
    """What the files say of one result: a verdict for each element (flat), and the name of what accepts it."""

    codes: np.ndarray  # of VERDICTS, "" where nothing is claimed
    names: np.ndarray
    got: np.ndarray
    error: np.ndarray
    ratio: np.ndarray

    def counts(self) -> Mapping[str, int]:
        return dict(Counter(c for c in self.codes.tolist() if c))


def judge(expected: Expected, got: np.ndarray, dtype: str, conventions: Mapping[str, float] | None = None) -> Verdict:
    """The verdicts of a result in the working format `dtype`: of its elements, or of those that are sampled."""
    main, got = expected.main, np.asarray(got, np.float64).ravel()
    got = got if main.at is None else got[main.at]
    letter = np.array([*main.letters], dtype="U1")
    passed = accepts(main, got, dtype)
    with np.errstate(all="ignore"):
        error = np.abs((got - main.hi) - main.lo)
        ratio = np.where(error == 0, 0.0, error / main.bounds[dtype])
    odd = np.isin(letter, ["n", "p", "m", "z", "Z"])
    codes = np.where(odd | (~np.isfinite(got) & np.isfinite(main.hi)), "special", "violation").astype("U12")
    codes[passed] = np.where(_nearest(main, got, dtype) | odd, "exact", "ok")[passed]
    codes[passed & (letter == "r")] = "convention"
    names = np.where(letter == "r", _followed(main, got, conventions or {}), "").astype(object)
    names[~passed] = ""
    ratio[passed & (letter != "f")] = 0.0
    error[odd] = ratio[odd] = np.where(passed, 0.0, np.inf)[odd]
    for claim in expected.also:
        if claim.at is None or dtype not in claim.bounds:
            continue
        better = accepts(claim, got[claim.at], dtype) & np.isin(codes[claim.at], ["violation", "special"])
        places = claim.at[better]
        codes[places] = {"special": "exact", "convention": "convention", "class": "explained"}[claim.kind]
        names[places] = claim.name
        with np.errstate(all="ignore"):
            error[places] = np.abs((got[claim.at] - claim.hi) - claim.lo)[better]
            ratio[places] = np.where(error[places] == 0, 0.0, error[places] / claim.bounds[dtype][better])
    for group in expected.groups:
        with np.errstate(all="ignore"):
            off = np.abs((np.sum(got[group.at]) - group.hi) - group.lo)
            if not off <= group.bounds[dtype]:
                codes[group.at], names[group.at] = "violation", "tied elements do not share what there is"
                error[group.at], ratio[group.at] = off, off / group.bounds[dtype] if group.bounds[dtype] else np.inf
    codes[letter == "*"] = ""
    return Verdict(codes, names, got, error, ratio)


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
