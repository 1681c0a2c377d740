"""Fixtures: cases with certified values and derived bounds, as data that needs no Python (see conformance/FORMAT.md).

`plan` lists the cases. `make` computes their claims and writes the files. `read` reads the files, and refuses what the
format does not allow. `rule` is the comparison rule.
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
    """What is right at the elements `at` (flat indices; None for all elements of a result, in order): a class letter
    for each, the value as `hi + lo`, and a bound for each working format in which the claim holds.

    The main claim of a result covers all of it, unless a large result is sampled; its `kind` is empty. The `kind` of an
    alternative says why it is sound: "special" (a table of special values), "convention" (of that `name`, at a kink or
    a tie) or "class" (another class of algorithms, of that `name`).
    """

    letters: str
    hi: np.ndarray
    lo: np.ndarray
    bounds: Mapping[str, np.ndarray]
    at: np.ndarray | None = None
    kind: str = ""
    name: str = ""

    def is_letter(self, letter: str) -> np.ndarray:
        """Where the class letter is this one."""
        return np.asarray(np.frombuffer(self.letters.encode(), np.uint8) == ord(letter))


@dataclass(frozen=True, eq=False)
class Group:
    """Elements that share a cotangent: their sum is `hi + lo`, within the bound of the working format."""

    at: np.ndarray
    hi: float
    lo: float
    bounds: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Expected:
    """All claims of a file about one result."""

    main: Claim
    also: tuple[Claim, ...] = ()
    groups: tuple[Group, ...] = ()


@dataclass(frozen=True, eq=False)
class Fixture:
    """One case: its inputs, and the claims about each result: "y", "d/INPUT", and "v/NODE" of a network.

    `op` is an op or a network. The parameters of a network are inputs like any other.
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
        """The results to ask an implementation for. The values between the layers of a network are for information
        only."""
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
            keep = not isinstance(x, np.ndarray) or x.dtype.kind in "biu"
            return x if keep else x.astype(np.dtype(dtype))

        attrs, inputs = ({k: widened(v) for k, v in given.items()} for given in (self.attrs, self.inputs))
        return attrs, inputs, widened(self.cotangent)

    def case(self, dtype: str) -> Case:
        """The fixture as a case of its op, in a working format."""
        attrs, inputs, cotangent = self.arrays(dtype)
        return Case(self.id, subject(self.op), tuple(inputs.values()), attrs, cotangent, self.family, random=False)


def request(fixture: Fixture, dtype: str, *, forward: bool = False) -> Request:
    """The request for a fixture in a working format; with `forward`, for the output alone."""
    attrs, inputs, cotangent = fixture.arrays(dtype)
    return Request(fixture.id, fixture.op, dtype, attrs, inputs, cotangent, ("y",) if forward else fixture.wants)
