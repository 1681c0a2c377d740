"""The arithmetics: each answers the same primitives for its own kind of number.

An op is written once, as functions of an arithmetic `ar` and of arrays in it. It may use the operators `+ - * /` and
`** 2`, indexing, `.shape`, `.ndim`, `.T`, `.reshape`, `.swapaxes`, and the primitives of `Arithmetic`, which stands in
refnn/arithmetic/protocol.py and says what each one means.

`a + b`, `a * b` and `a / b` mean one operation each. A chain of more than one addition or multiplication is written as
`sum`, `dot` or `product`, because implementations are free in the order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

BLOCK = 1 << 14  # elements of an array that stay in a core's cache with all that is computed from them

# The convention at kinks and ties. A number is the weight of the derivative above the kink: one for all kinks, or one
# for each by its name. A text says which of several maxima count: "first", "last" or "split"; "any" asks for a bound
# that holds for every choice. A network has a convention for each op, by the name of the op.
Convention = float | str | Mapping[str, "Convention"]


# Irrational constants by name: the square root of p/q times a power of pi, as (p, q, power).
CONSTANTS: Mapping[str, tuple[int, int, int]] = MappingProxyType(
    {
        "sqrt(1/2)": (1, 2, 0),
        "sqrt(2/pi)": (2, 1, -1),
        "sqrt(4/pi)": (4, 1, -1),
        "sqrt(1/(2*pi))": (1, 2, -1),
    }
)


def nearest(constant: str) -> float:
    """The float64 nearest a constant."""
    p, q, power = CONSTANTS[constant]
    return math.sqrt(p / q * math.pi**power)


def share(convention: Convention, kink: str) -> float:
    """The weight of `above` at the kink of that name. Conventions for ties leave it 0."""
    if isinstance(convention, Mapping):
        return share(convention[kink], kink)
    return 0.0 if isinstance(convention, str) else convention


def ties(convention: Convention) -> str:
    """Which of several maxima count."""
    return convention if isinstance(convention, str) else "first"


class Unsupported(NotImplementedError):
    """An arithmetic was asked for something that it cannot do."""

    def __init__(self, arithmetic: str, primitive: str) -> None:
        super().__init__(f"{arithmetic} has no {primitive!r}")
        self.arithmetic, self.primitive = arithmetic, primitive
