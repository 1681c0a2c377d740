"""Wrong on purpose: a default check finds every mutant of the catalogue, and says what is no bug.

A mutant is written in NumPy, and what is mutated conforms before, so that nothing but its mutation is found.
"""

from __future__ import annotations

import pytest
from marks import slow, together

import refnn
from refnn.report import CONFORMING
from refnn.study.power.catalogue import FAMILIES, MUTANTS, RIGHT
from refnn.study.power.mutant import Mutant
from refnn.study.power.score import mutated


def test_the_catalogue_is_large_enough() -> None:
    """Ops of one, two and three axes count as one; so does a bug that several mutants are modelled on."""
    wrong = [m for m in MUTANTS if m.kind == "wrong"]
    assert len({(m.op.rstrip("123d"), m.what) for m in wrong}) >= 100
    assert len({m.bug for m in wrong if m.bug}) >= 40


def test_every_mutant_has_a_name_of_its_own() -> None:
    assert len({m.name for m in MUTANTS}) == len(MUTANTS)


@pytest.mark.parametrize("bug", sorted({m.bug for m in MUTANTS if m.bug}))
def test_a_bug_is_cited_as_it_can_be_looked_up(bug: str) -> None:
    repository, _, number = bug.replace("#", " ").partition(" ")
    assert repository.count("/") == 1 and number.removeprefix("PR").isdigit(), bug


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"kind": "odd"}, "kind is 'odd', expected wrong"),
        ({"vjp": None}, "changes neither forward nor vjp"),
        ({"kind": "equivalent"}, "does not say why"),
    ],
)
def test_a_mutant_that_says_too_little_is_refused(change: dict[str, str | None], sentence: str) -> None:
    given = {"op": "relu", "bug": "", "what": "zeros", "vjp": refnn.relu.vjp, **change}
    with pytest.raises(ValueError, match=sentence):
        Mutant(**given)


@pytest.mark.usefixtures("shared_judges")
@pytest.mark.parametrize("dtype", slow(["float32", "float64"], "float64"))
@pytest.mark.parametrize("op", [*map(together, RIGHT)])
def test_what_is_mutated_is_right(op: str, dtype: str) -> None:
    forward, vjp = RIGHT[op]
    report = refnn.check(op, forward=forward, vjp=vjp, dtype=dtype)
    assert report.ok, str(report)


@pytest.mark.usefixtures("shared_judges")
@pytest.mark.parametrize("m", [together(m.op, m, id=m.name) for m in sorted(MUTANTS, key=lambda m: (m.op, m.dtype))])
def test_a_default_check_says_what_it_is(m: Mutant) -> None:
    forward, vjp = mutated(m)
    report = refnn.check(m.op, forward=forward, vjp=vjp, dtype=m.dtype)
    named = {
        verdict: {f.name for f in report.findings if f.verdict == verdict} for verdict in ("convention", "explained")
    }
    assert report.ok == (m.kind in ("convention", "equivalent")), str(report)
    if m.kind == "wrong":
        assert not [f for f in report.findings if "raised" in f.message]  # an accident, not the mutation
        found = {"output" if f.what == "output" else "vjp" for f in report.findings if f.verdict not in CONFORMING}
        changed = {name for name, half in (("output", m.forward), ("vjp", m.vjp)) if half is not None}
        assert found and found <= changed, str(report)
    elif m.kind != "equivalent":
        assert m.what in named[m.kind]


def test_families_hold_all_mutants_once() -> None:
    assert sorted(m.name for mutants in FAMILIES.values() for m in mutants) == sorted(m.name for m in MUTANTS)
