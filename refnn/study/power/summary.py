"""The tables that README.md and conformance/power/README.md show of the committed runs.

`python -m refnn.study.power.summary [FOLDER]` writes them again, in a checkout or a folder like it, from `first.md`,
`last.md`, `alarms.md` and `evasions.md` of conformance/power: each table stands between a comment that names it and an
end comment.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path

from refnn.report.markdown import read_tables, table

ROOT = Path(__file__).parents[3]
RUNS = Path("conformance", "power")
PAGES = (Path("README.md"), RUNS / "README.md")
ALARMS = re.compile(r"\*\*([\d,]+) false alarms in ([\d,]+) checks\*\* of ([\d,]+) right implementations .*?\((.*?);")
RIVAL = "assert_close"  # the best of the others


def cells(page: str) -> dict[str, list[str]]:
    """The rows of the tables of a page of `refnn power`, by their first cells; of equal ones the first."""
    lines = ([c.strip("*") for c in line] for part in read_tables(page) for line in part)
    found: dict[str, list[str]] = {}
    for first, *rest in lines:
        found.setdefault(first, rest)
    return found


def _of_all(cell: str, wrong: int) -> str:
    """Killed of covered, as a number where all were covered."""
    killed, covered = map(int, cell.split("/"))
    return str(killed) if covered == wrong else f"{killed} of {covered}"


def scores(first: str, last: str) -> str:
    """How many wrong implementations each checker killed, in both runs; a checker that the first did not have is left
    blank there."""
    early, late = cells(first), cells(last)
    names = late["killed / wrong"]
    of_first = dict(zip(early["killed / wrong"], early["all"], strict=True))
    wrong = int(late["all"][0].split("/")[1])
    rows = [
        ["first score", *(_of_all(of_first[n], wrong) if n in of_first else "" for n in names)],
        ["last score, with new shapes for all", *(_of_all(c, wrong) for c in late["all"])],
        ["objections to right ones", *(c.replace("/", " of ") for c in late["objections to right implementations"])],
        ["seconds of processor time", *late["seconds of processor time"]],
    ]
    return "\n" + table([f"killed of {wrong}", *names], rows)


def families(first: str, last: str) -> str:
    """refnn and the best of the others by family of ops, in both runs."""
    early, late = cells(first), cells(last)
    rows = []
    for family in list(late)[1 : list(late).index("all")]:
        pairs = [run[family][run["killed / wrong"].index(n)] for run in (early, late) for n in ("refnn", RIVAL)]
        rows.append([family, pairs[2].split("/")[1], *(p.split("/")[0] for p in pairs)])
    head = ["family", "wrong", "refnn, first", f"{RIVAL}, first", "refnn, last", f"{RIVAL}, last"]
    return "\n" + table(head, rows)


def alarms(page: str) -> str:
    """What the page of false alarms came to, in a sentence."""
    found = ALARMS.search(page)
    if found is None:
        raise ValueError("alarms.md has no line '**N false alarms in N checks** of N right implementations'")
    alarmed, checks, pairs, dtypes = found.groups()
    alarmed = "No false alarm" if alarmed == "0" else f"{alarmed} false alarms"
    return f"\n{alarmed} in {checks} checks of {pairs} right implementations ({dtypes})."


def evasions(page: str) -> str:
    """What a check sees of the evasions, by the kind of their conditions: the first table of their page."""
    (head, *rows), *_ = read_tables(page)
    return "\n" + table(head, rows)


def renewed(page: str, blocks: Mapping[str, str]) -> str:
    """The page with what stands between `<!-- NAME -->` and `<!-- end -->` replaced, for each block that it has."""

    def block(found: re.Match[str]) -> str:
        return f"<!-- {found[1]} -->\n{blocks[found[1]]}\n\n<!-- end -->"

    return re.sub(rf"<!-- ({'|'.join(blocks)}) -->\n.*?<!-- end -->", block, page, flags=re.DOTALL)


def blocks(root: Path = ROOT) -> dict[str, str]:
    """All blocks, from the committed runs of a tree."""
    names = ("first", "last", "alarms", "evasions")
    first, last, alarmed, evaded = ((root / RUNS / f"{name}.md").read_text() for name in names)
    return {
        "scores": scores(first, last),
        "families": families(first, last),
        "alarms": alarms(alarmed),
        "evasions": evasions(evaded),
    }


def main(root: Path = ROOT) -> None:
    """Write the blocks of both pages again."""
    made = blocks(root)
    for page in PAGES:
        path = root / page
        path.write_text(renewed(path.read_text(), made))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
