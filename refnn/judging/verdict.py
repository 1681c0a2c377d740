"""The verdicts of the elements of one result."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refnn.report import OUT_OF_SCOPE, VERDICTS

# --- judging ---------------------------------------------------------------------------------------------------------

# Codes of verdicts, in the order of VERDICTS; the last two are not judged.
EXACT, OK, CONVENTION, SUSPECT, EXPLAINED, VIOLATION, SPECIAL, ERROR, SCOPE, FREE = range(10)
NAMES = (*VERDICTS, OUT_OF_SCOPE, "")


@dataclass(eq=False)
class Judgement:
    """The elements of one result: the `code` of each verdict, its `name` as an index into `names` (of conventions and
    algorithms), and the numbers of a finding."""

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


def unexplained(j: Judgement) -> np.ndarray:
    return np.asarray((j.code == SUSPECT) | (j.code == VIOLATION) | (j.code == SPECIAL))
