"""Case ids, made and parsed in this one place.

`op/dtype/family/variant/cotangent/seed` is a case of a check, `op/dtype/family/variant` one of the fixtures, whose
variant may have slashes of its own.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CaseId:
    """The parts of an id; `cotangent` is empty and `seed` None in one of the fixtures."""

    op: str
    dtype: str = ""
    family: str = ""
    variant: str = ""
    cotangent: str = ""
    seed: int | None = None

    @classmethod
    def parse(cls, text: str) -> CaseId:
        """The parts of a text; those that it lacks are empty."""
        op, dtype, family, *rest = [*text.split("/"), "", ""] if text.count("/") < 2 else text.split("/")
        if len(rest) >= 3 and rest[-1].isdigit():
            return cls(op, dtype, family, "/".join(rest[:-2]), rest[-2], int(rest[-1]))
        return cls(op, dtype, family, "/".join(rest))

    def __str__(self) -> str:
        parts = [self.op, self.dtype, self.family, self.variant]
        return "/".join(parts if self.seed is None else [*parts, self.cotangent, str(self.seed)])
