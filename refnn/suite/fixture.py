"""Fixtures: cases with certified values and derived bounds, as data that needs no Python (see conformance/FORMAT.md).

`plan` says which cases there are, `make` computes what the files say of them and writes the files, `read` reads them
and refuses whatever the format does not allow, `verdict` is the comparison rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from refnn.implementations.protocol import Request
from refnn.judging.case import Case
from refnn.networks.network import subject

SCHEMA = 1  # of the files; raised when an old reader would misread a new file
SUITE = "2026.11.1"  # of their contents; any change of a fixture is a new one, with an entry in CHANGELOG.md


@dataclass(frozen=True, eq=False)
class Claim:
    """What may come out at the elements `at` (flat indices; None for all of a result, in order): a class letter for
    each, the value as `hi + lo`, and a bound for each working format that the claim is made for.

    The claim that a result begins with is about a part of it only where a large result is sampled. `kind` is empty for
    that one, and says else why the alternative is sound: "special" (a table of special values), "convention" (of that
    `name`, at a kink or a tie), "class" (of algorithms).
    """

    letters: str
    hi: np.ndarray
    lo: np.ndarray
    bounds: Mapping[str, np.ndarray]
    at: np.ndarray | None = None
    kind: str = ""
    name: str = ""


@dataclass(frozen=True, eq=False)
class Group:
    """Elements that share a cotangent between them: their sum is `hi + lo`, within the bound of the working format."""

    at: np.ndarray
    hi: float
    lo: float
    bounds: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Expected:
    """All that a file says of one result."""

    main: Claim
    also: tuple[Claim, ...] = ()
    groups: tuple[Group, ...] = ()


@dataclass(frozen=True, eq=False)
class Fixture:
    """One case: what goes in, and what is expected of each result: "y", "d/INPUT", and of a network "v/NODE".

    `op` is an op or a network, whose parameters are inputs like any other.
    """

    id: str
    op: str
    family: str
    dtype: str
    inputs: Mapping[str, np.ndarray | None]
    attrs: Mapping[str, Any]
    cotangent: np.ndarray
    expect: Mapping[str, Expected]
    flags: tuple[str, ...] = ()
    why: str = ""
    conventions: Mapping[str, float] = field(default_factory=dict)

    @property
    def formats(self) -> tuple[str, ...]:
        """The working formats in which the case can be run."""
        return tuple(next(iter(self.expect.values())).main.bounds)

    @property
    def wants(self) -> tuple[str, ...]:
        """What an implementation is asked for. What a network computes between its layers is only there to be looked
        at."""
        return tuple(n for n in self.expect if not n.startswith("v/"))

    def shape(self, want: str) -> tuple[int, ...]:
        """The shape of a result."""
        result = self.cotangent if want == "y" else self.inputs[want.removeprefix("d/")]
        assert result is not None
        return result.shape

    @property
    def elements(self) -> int:
        return sum(len(e.main.letters) for e in self.expect.values())

    def arrays(self, dtype: str) -> tuple[Mapping[str, Any], Mapping[str, np.ndarray | None], np.ndarray]:
        """The parameters, inputs and cotangent in a working format, which holds them exactly."""

        def widened(x: Any) -> Any:
            keep = not isinstance(x, np.ndarray) or x.dtype.kind in "iu"
            return x if keep else x.astype(np.dtype(dtype))

        attrs, inputs = ({k: widened(v) for k, v in given.items()} for given in (self.attrs, self.inputs))
        return attrs, inputs, widened(self.cotangent)

    def case(self, dtype: str) -> Case:
        """It as a case of the op, in a working format."""
        attrs, inputs, cotangent = self.arrays(dtype)
        return Case(self.id, subject(self.op), tuple(inputs.values()), attrs, cotangent, self.family, random=False)


def request(fixture: Fixture, dtype: str, *, forward: bool = False) -> Request:
    """What is asked for in a case of the fixtures, in a working format; with `forward` the output alone."""
    attrs, inputs, cotangent = fixture.arrays(dtype)
    return Request(fixture.id, fixture.op, dtype, attrs, inputs, cotangent, ("y",) if forward else fixture.wants)
