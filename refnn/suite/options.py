"""What the options of a run of the fixtures mean: `refnn verify` and the pytest plugin take the same ones.

Without a model or an algorithm a case is judged by the bounds of its file. With one it is judged by the oracle, as
`refnn.check` does, by worst cases alone.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from refnn.implementations.protocol import parse_value
from refnn.judging.case import Case
from refnn.judging.groups import begins, check_where, groups, lacking, unmet
from refnn.models import Model, model
from refnn.networks.network import subject
from refnn.report import CONFORMING, accepting
from refnn.report.profiles import profile as find_profile
from refnn.suite.fixture import Fixture
from refnn.suite.make import widened
from refnn.suite.plan import FORMATS_HELD, cases, planned

Cases = Sequence[tuple[Fixture, str]]


@dataclass(frozen=True)
class Options:
    """Which verdicts conform, by which model and algorithm the oracle judges (no model: the bounds of the files do),
    which cases are chosen, which are declared not to be supported, and the profile of the report."""

    accept: frozenset[str] = CONFORMING
    model: Model | None = None
    algorithm: str = "accurate"
    where: Mapping[str, Any] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    profile: str = "framework"

    @property
    def by_oracle(self) -> bool:
        return self.model is not None or self.algorithm != "accurate"

    def rules(self, dtype: str) -> Model:
        return self.model or model(dtype)

    def words(self) -> list[str]:
        """The options of `refnn check` by which a case is judged the same."""
        given = ["--model", self.model.name] if self.model else []
        return given + (["--algorithm", self.algorithm] if self.algorithm != "accurate" else [])

    def dtype(self, asked: str | None) -> str | None:
        """The working format of the cases. ValueError where it is not what the model stores."""
        if self.model is None:
            return asked
        stores = f"model {self.model.name!r} stores {self.model.storage.name}"
        if asked not in (None, self.model.storage.name):
            raise ValueError(f"{stores}, but the cases run in {asked}")
        if self.model.storage.name not in FORMATS_HELD:
            raise ValueError(f"{stores}, but the fixtures hold {' and '.join(FORMATS_HELD)}")
        return self.model.storage.name

    def chosen(self, given: Cases) -> Cases:
        """The cases that are asked for. TypeError, ValueError or LookupError says what is wrong with the options."""
        families = find_profile(self.profile).families
        for op in {f.op for f, _ in given}:
            check_where(subject(op), self.where)
            subject(op).algorithm(self.algorithm)
        found = [
            (f, d)
            for f, d in given
            if (families is None or f.family in families) and (not self.where or unmet(f.case(d), self.where) is None)
        ]
        known = dict.fromkeys(g for f, d in found if self.without for g in groups(f.case(d)))
        for name in self.without:
            if not any(begins(g, name) for g in known):
                raise LookupError(f"no case of this selection is of the group {name!r}, its groups: {'; '.join(known)}")
        return found

    def declined(self, case: Case) -> str | None:
        """Why a case is declared not to be supported; None where it is not."""
        return unmet(case, lacking(self.without)) if self.without else None

    def header(self, dtypes: Iterable[str]) -> dict[str, Any]:
        """What a report says of how it judges."""
        about: dict[str, Any] = {} if self.profile == "framework" else {"profile": self.profile}
        if not self.by_oracle:
            return about
        rules = [self.rules(d) for d in dtypes]
        note = "judged by the oracle under this model: worst cases only, nothing is suspect"
        about |= {"model": ", ".join(r.name for r in rules), "models": [r.describe() for r in rules], "notes": [note]}
        return about | {"algorithm": self.algorithm}


def options(
    *,
    accept: str | Iterable[str] = (),
    model_: str | None = None,
    algorithm: str = "accurate",
    where: Sequence[str] = (),
    without: str = "",
    profile: str = "framework",
) -> Options:
    """The options that texts say. ValueError or LookupError says in one sentence what is wrong with them."""
    find_profile(profile)
    rules = None if model_ is None else model(model_)
    return Options(accepting(accept), rules, algorithm, where_of(where), tuple(listed([without])), profile)


def listed(given: Iterable[str]) -> list[str]:
    """Names from texts, in each of which they may be separated by commas.

    >>> listed(["normal, large", "special"])
    ['normal', 'large', 'special']
    """
    return [name.strip() for text in given for name in text.split(",") if name.strip()]


def where_of(given: Iterable[str]) -> dict[str, list[Any]]:
    """The selection that texts NAME=VALUE say, as `refnn.cases` takes it. ValueError names a text that is none.

    >>> where_of(["axis=1", "axis=-1", "group=empty batch"])
    {'axis': [1, -1], 'group': ['empty batch']}
    """
    found: dict[str, list[Any]] = {}
    for text in given:
        name, value = named_value("where", text, words=("group",))
        found.setdefault(name, []).append(value)
    return found


def named_value(option: str, text: str, words: Sequence[str] = ()) -> tuple[str, Any]:
    """The name and the value that a text NAME=VALUE has. The value of a name among `words` is the text as it is."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise ValueError(f"{option} {text!r} is not NAME=VALUE")
    if name in words:
        return name, value
    try:
        parsed, rest = parse_value(value)
    except ValueError as e:
        raise ValueError(f"{option} {text!r}: {e}") from e
    if rest:
        raise ValueError(f"{option} {text!r}: the value is followed by {rest!r}")
    return name, parsed


@functools.cache
def _planned(op: str, family: str) -> Mapping[str, Case]:
    return {c.id: c for c in cases(op, family)}


def as_planned(fixture: Fixture, dtype: str) -> Case:
    """The case of a fixture with what its file does not say, such as the row of a table, in a working format."""
    found = planned(fixture.id) if fixture.family == "network" else _planned(fixture.op, fixture.family)[fixture.id]
    assert found is not None
    return widened(found, dtype)
