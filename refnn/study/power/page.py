"""What came of a run, as a page of Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from refnn.ops import OPS
from refnn.report.header import environment
from refnn.report.templates import markdown
from refnn.study.power.catalogue import FAMILIES, MUTANTS
from refnn.study.power.mutant import Mutant
from refnn.study.power.score import Score, revealing, search

ALL_COTANGENTS = 3  # from so many kinds on, any cotangent will do


def page(score: Score) -> str:
    """The page."""
    wrong = score.wrong()
    others = Counter(m.kind for m in score.mutants if m.kind != "wrong")
    return markdown(
        Path(__file__).with_name("page.md.jinja"),
        about=environment(),
        checkers=[*score.tallies],
        wrong=len(wrong),
        distinct=len({(m.op.rstrip("123d"), m.what) for m in wrong}),
        others=", ".join(f"{n} {kind}" for kind, n in others.items()) or "none",
        bugs=len({m.bug for m in score.mutants if m.bug}),
        by_family=_by_family(score),
        bare=sorted(set(OPS) - {m.op for m in MUTANTS if m.kind == "wrong"}),
        by_op=[[op, *_killed(score, score.wrong([op]))] for op in sorted({m.op for m in wrong})],
        by_input=_by_input(score),
        right=_right(score),
        alarms=_alarms(score),
        mutants=_mutants(score),
    )


def _killed(score: Score, among: list[Mutant]) -> list[str]:
    cells = []
    for tally in score.tallies.values():
        covered = [m for m in among if m not in tally.uncovered]
        cells.append(f"{sum(m in tally.killed for m in covered)}/{len(covered)}" if covered else "")
    return cells


def _by_family(score: Score) -> list[list[str]]:
    rows = []
    for family, mutants in FAMILIES.items():
        if among := [m for m in score.wrong() if m in mutants]:
            rows.append([family, *_killed(score, among)])
    rows.append(["**all**", *(f"**{cell}**" if cell else "" for cell in _killed(score, score.wrong()))])
    tallies = score.tallies.values()
    rows.append(["objections to right implementations", *(f"{len(t.false_alarms)}/{t.controls}" for t in tallies)])
    rows.append(["seconds of processor time", *(f"{t.seconds:.0f}" for t in tallies)])
    return rows


def _by_input(score: Score) -> list[list[str]]:
    """How many mutants each input family reveals to refnn, and how many nothing else does."""
    places = {m: {family for family, _ in revealing(score.reports[m])} for m in score.wrong()}
    families = sorted({f for found in places.values() for f in found})
    return [
        [f, str(sum(f in found for found in places.values())), str(sum(found == {f} for found in places.values()))]
        for f in families
    ]


def _right(score: Score) -> list[list[str]]:
    """What is no bug: conventions, other algorithms, equivalent mutants."""
    rows = []
    for m in score.mutants:
        if m.kind != "wrong":
            names = {f.name for f in score.reports[m].findings if f.name}
            said = score.reports[m].verdict + "".join(f" [{n}]" for n in sorted(names))
            objected = [name for name, t in score.tallies.items() if m in t.killed]
            rows.append([m.op, m.what, m.kind, said, ", ".join(objected), m.why or m.bug])
    return rows


def _alarms(score: Score) -> list[list[str]]:
    """The right implementations that a checker objects to."""
    return [
        [name, op, ", ".join(f"{dtype} ({what})" for o, dtype, what in tally.false_alarms if o == op)]
        for name, tally in score.tallies.items()
        for op in dict.fromkeys(o for o, _, _ in tally.false_alarms)
    ]


def _mutants(score: Score) -> list[list[str]]:
    rows = []
    for m in sorted(score.wrong(), key=lambda m: m.name):
        marks = [
            "" if m in t.uncovered else "killed" if m in t.killed else "**missed**" for t in score.tallies.values()
        ]
        rows.append([m.op, m.what, m.bug, *marks, revealed(score, m) if "**missed**" in marks else ""])
    return rows


def revealed(score: Score, m: Mutant) -> str:
    """Which inputs and cotangents reveal a mutant, or that no variant of its op does."""
    places = revealing(score.reports[m]) or search(m)
    if not places:
        return "no variant of the op: shapes or parameters are missing"
    kinds: Mapping[str, list[str]] = {f: [k for g, k in places if g == f] for f, _ in places}
    shown = [f"{f} ({'any cotangent' if len(ks) >= ALL_COTANGENTS else ', '.join(ks)})" for f, ks in kinds.items()]
    return ", ".join(shown[:3]) + (f" and {len(shown) - 3} families more" if len(shown) > 3 else "")
