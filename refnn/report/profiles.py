"""Profiles: what a reader of a report wants to know first, as a table of data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# The input families in which NaN, infinities, or numbers at the ends of the range are what is tested.
SPECIAL = frozenset({"limits", "nonfinite", "special", "subnormal"})


@dataclass(frozen=True)
class Profile:
    """Which input families a check runs, which of them stand apart, and how the report speaks.

    `families` are all that run, or None for every one. Those `apart` have a line of the verdict of their own, and do
    not decide whether the whole conforms. `words` asks for sentences instead of counts.
    """

    who: str
    families: frozenset[str] | None = None
    apart: frozenset[str] = frozenset()
    words: bool = False


PROFILES: Mapping[str, Profile] = {
    "framework": Profile("who maintains a framework: everything counts"),
    "kernel": Profile("who writes a kernel: finite numbers first, special values apart", apart=SPECIAL),
    "teaching": Profile(
        "who teaches: ordinary numbers and small whole numbers, in words", frozenset({"grid", "normal"}), words=True
    ),
}


def profile(name: str) -> Profile:
    """The profile of that name. LookupError where there is none."""
    if name not in PROFILES:
        raise LookupError(f"unknown profile {name!r}, known: {', '.join(PROFILES)}")
    return PROFILES[name]
