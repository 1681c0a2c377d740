"""What came of a run, as a page of Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from refnn.ops import OPS
from refnn.report.header import environment, listed
from refnn.study.power.catalogue import FAMILIES, MUTANTS
from refnn.study.power.mutant import Mutant
from refnn.study.power.score import Score, revealing, search

OURS = "refnn"
ALL_COTANGENTS = 3  # from so many kinds on, any cotangent will do


def lines(score: Score) -> Iterator[str]:
    """The page, line by line."""
    yield "# Detection power"
    yield ""
    yield from listed(environment())
    yield ""
    yield from _introduction(score)
    yield from _by_family(score)
    yield from _by_op(score)
    yield from _by_input(score)
    yield from _others(score)
    yield from _alarms(score)
    yield from _mutants(score)


def _introduction(score: Score) -> Iterator[str]:
    wrong = score.wrong()
    distinct = {(m.op.rstrip("123d"), m.what) for m in wrong}
    bugs = {m.bug for m in score.mutants if m.bug}
    others = Counter(m.kind for m in score.mutants if m.kind != "wrong")
    yield (
        f"{len(wrong)} wrong implementations, {len(distinct)} mutations where ops of one, two and three axes count as "
        f"one; {', '.join(f'{n} {kind}' for kind, n in others.items()) or 'none'} beside them. {len(bugs)} public bugs "
        "are modelled. A mutant is killed where the checker objects to it and not to what was mutated."
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A table of Markdown, after an empty line."""
    yield ""
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _killed(score: Score, among: list[Mutant]) -> list[str]:
    cells = []
    for tally in score.tallies.values():
        covered = [m for m in among if m not in tally.uncovered]
        cells.append(f"{sum(m in tally.killed for m in covered)}/{len(covered)}" if covered else "")
    return cells


def _by_family(score: Score) -> Iterator[str]:
    rows = []
    for family, mutants in FAMILIES.items():
        if among := [m for m in score.wrong() if m in mutants]:
            rows.append([family, *_killed(score, among)])
    rows.append(["**all**", *(f"**{cell}**" if cell else "" for cell in _killed(score, score.wrong()))])
    tallies = score.tallies.values()
    rows.append(["objections to right implementations", *(f"{len(t.false_alarms)}/{t.controls}" for t in tallies)])
    rows.append(["seconds of processor time", *(f"{t.seconds:.0f}" for t in tallies)])
    yield from table(["killed / wrong", *score.tallies], rows)


def _by_op(score: Score) -> Iterator[str]:
    bare = sorted(set(OPS) - {m.op for m in MUTANTS if m.kind == "wrong"})
    words = f"Ops without a mutant: {', '.join(bare)}." if bare else ""
    rows = [[op, *_killed(score, score.wrong([op]))] for op in sorted({m.op for m in score.wrong()})]
    yield from _section("By op", ["op", *score.tallies], rows, words)


def _section(title: str, head: list[str], rows: list[list[str]], words: str = "") -> Iterator[str]:
    yield ""
    yield f"## {title}"
    if words:
        yield ""
        yield words
    yield from table(head, rows) if rows else ("", "None.")


def _by_input(score: Score) -> Iterator[str]:
    """How many mutants each input family reveals to refnn, and how many nothing else does."""
    places = {m: {family for family, _ in revealing(score.reports[m])} for m in score.wrong()}
    families = sorted({f for found in places.values() for f in found})
    rows = [
        [f, str(sum(f in found for found in places.values())), str(sum(found == {f} for found in places.values()))]
        for f in families
    ]
    yield from _section("By input family of refnn", ["family", "reveals", "reveals alone"], rows)


def _others(score: Score) -> Iterator[str]:
    """What is no bug: conventions, other algorithms, equivalent mutants."""
    rows = []
    for m in score.mutants:
        if m.kind != "wrong":
            names = {f.name for f in score.reports[m].findings if f.name}
            said = score.reports[m].verdict + "".join(f" [{n}]" for n in sorted(names))
            objected = [name for name, t in score.tallies.items() if m in t.killed]
            rows.append([m.op, m.what, m.kind, said, ", ".join(objected), m.why or m.bug])
    head = ["op", "mutation", "is", "refnn says", "who objects", "why, or the bug"]
    yield from _section("What is not wrong", head, rows)


def _alarms(score: Score) -> Iterator[str]:
    rows = [
        [name, op, ", ".join(f"{dtype} ({what})" for o, dtype, what in tally.false_alarms if o == op)]
        for name, tally in score.tallies.items()
        for op in dict.fromkeys(o for o, _, _ in tally.false_alarms)
    ]
    yield from _section("Objections to right implementations", ["checker", "op", "implementation"], rows)


def _mutants(score: Score) -> Iterator[str]:
    rows = []
    for m in sorted(score.wrong(), key=lambda m: m.name):
        marks = [
            "" if m in t.uncovered else "killed" if m in t.killed else "**missed**" for t in score.tallies.values()
        ]
        rows.append([m.op, m.what, m.bug, *marks, revealed(score, m) if "**missed**" in marks else ""])
    words = "`revealed by` says on which inputs and cotangents refnn finds what somebody missed."
    yield from _section("Every mutant", ["op", "mutation", "bug", *score.tallies, "revealed by"], rows, words)


def revealed(score: Score, m: Mutant) -> str:
    """Which inputs and cotangents reveal a mutant, or that no variant of its op does."""
    places = revealing(score.reports[m]) or search(m)
    if not places:
        return "no variant of the op: shapes or parameters are missing"
    kinds: Mapping[str, list[str]] = {f: [k for g, k in places if g == f] for f, _ in places}
    shown = [f"{f} ({'any cotangent' if len(ks) >= ALL_COTANGENTS else ', '.join(ks)})" for f, ks in kinds.items()]
    return ", ".join(shown[:3]) + (f" and {len(shown) - 3} families more" if len(shown) > 3 else "")
