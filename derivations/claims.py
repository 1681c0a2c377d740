"""Claims: a statement of a source as a formula, and the cases in which it is compared with the truth.

    @claim("000-07", printed=lambda w, x, b, j: ..., corrected=lambda w, x, b, j: ..., swapped=lambda w, x, b, j: ...)
    def dense_layer(says):
        for j in range(2):
            yield f"j = {j}", truth, says(w, x, b, j)

The function is handed a form of the statement, `says`, and yields for each case where it is, what is true, and what the
form says. `printed` is the statement as printed. Where that is a misprint or wrong it must fail on the cases and
`corrected` must pass on the same. All other forms are mutants of the statement by hand; and what the statement says is
mutated by machine as well: other sign, twice, one more, and that of the next case (`MUTATIONS`). Each must fail.

`beyond` yields cases in which an assumption of the ledger is dropped: the statement must fail there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from derivations.decide import same

Form = Callable[..., Any]
Case = tuple[str, Any, Any]  # where, what is true, what is stated
Cases = Callable[[Form], Iterable[Case]]

CLAIMS: dict[str, Claim] = {}  # by ledger id; several ids share a claim where the sources state the same


def _plain(value: Any) -> Any:
    """Arrays and lists as tuples, which print in full."""
    return tuple(map(_plain, value)) if isinstance(value, (np.ndarray, tuple, list)) else value


def _mutable(value: Any) -> bool:
    return any(map(_mutable, value)) if isinstance(value, tuple) else not (value is None or isinstance(value, str))


def _each(change: Callable[[Any], Any]) -> Callable[[list[Any]], list[Any]]:
    """Apply a change to every number in the stated values; a truth value is inverted, a word stays."""

    def deep(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(deep, value))
        if isinstance(value, (bool, np.bool_)):
            return not value
        return change(value) if _mutable(value) else value

    return lambda values: [deep(v) for v in values]


MUTATIONS: Mapping[str, Callable[[list[Any]], list[Any]]] = {
    "sign": _each(lambda v: -v),
    "factor": _each(lambda v: 2 * v),
    "offset": _each(lambda v: v + 1),
    "index": lambda values: values[1:] + values[:1],
}


@dataclass(frozen=True, eq=False)
class Claim:
    """A statement with its cases. `ids` are the ledger's."""

    ids: tuple[str, ...]
    cases: Cases
    printed: Form
    corrected: Form | None = None
    mutants: Mapping[str, Form] = field(default_factory=dict)
    beyond: Cases | None = None

    @property
    def name(self) -> str:
        return f"{self.cases.__module__.removeprefix('derivations.')}.{self.cases.__name__}"

    @property
    def form(self) -> Form:
        """The statement that is true: as corrected, or as printed."""
        return self.corrected or self.printed

    @cached_property
    def stated(self) -> list[Case]:
        return list(self.cases(self.form))

    def verify(self) -> None:
        """AssertionError, with one sentence, unless the statement holds in every case."""
        assert self.stated, f"{self.name} has no cases"
        if failure := first_failure(self.stated):
            where, true, says = failure
            raise AssertionError(f"{self.name} fails at {where}: the truth is {true}, the statement gives {says}")

    def verify_refuted(self) -> None:
        """AssertionError unless the printed form of an erratum fails, and the statement beyond its assumption does."""
        if self.corrected:
            assert self.counterexample, f"{self.name}: the printed form passes in every case, so it is no erratum"
        if self.beyond:
            assert first_failure(self.beyond(self.form)), f"{self.name} holds beyond its assumption"

    @cached_property
    def counterexample(self) -> Case | None:
        """The first case in which the printed form fails; for one that holds, in which its assumption is dropped."""
        if self.corrected:
            return first_failure(self.cases(self.printed))
        return first_failure(self.beyond(self.form)) if self.beyond else None

    def survivors(self) -> tuple[list[str], int]:
        """The mutants that pass, and how many there were."""
        passed = [name for name, form in self.mutants.items() if not first_failure(self.cases(form))]
        where = [case[0] for case in self.stated]
        true, says = ([_plain(case[n]) for case in self.stated] for n in (1, 2))
        tried = len(self.mutants)
        for name, mutate in MUTATIONS.items():
            mutated = mutate(says)
            if (true.count(true[0]) == len(true)) if name == "index" else not any(map(_mutable, says)):
                continue  # what is true in every case has no next one, and a word has no sign
            tried += 1
            if not first_failure(zip(where, true, mutated, strict=True)):
                passed.append(name)
        return passed, tried


def first_failure(cases: Iterable[Case]) -> Case | None:
    return next((c for c in cases if not same(c[1], c[2])), None)


def claim(*ids: str, printed: Form, corrected: Form | None = None, beyond: Cases | None = None, **mutants: Form) -> Any:
    """Register the decorated function as the claim of these ledger ids."""

    def register(cases: Cases) -> Claim:
        if not ids:
            raise ValueError(f"the claim {cases.__name__} has no ledger id")
        made = Claim(ids, cases, printed, corrected, mutants, beyond)
        for i in ids:
            if i in CLAIMS:
                raise ValueError(f"{i} has two claims: {CLAIMS[i].name} and {made.name}")
            CLAIMS[i] = made
        return made

    return register
