"""`python -m derivations [FOLDER]`: decide every claim, and write the errata and the conventions, beside this module or
to a folder."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import track
from rich.table import Table

from derivations import conventions, page
from derivations.claims import Claim
from derivations.ledger import VERDICTS, claims
from derivations.links import linked, required

FOLDER = Path(__file__).parent


def failures(claim: Claim) -> list[str]:
    """What is wrong with a claim, in sentences; empty if it holds, its mutants fail and its erratum is refuted."""
    wrong = []
    for check in (claim.verify, claim.verify_refuted):
        try:
            check()
        except (AssertionError, ArithmeticError) as error:
            wrong.append(str(error))
    if survivors := claim.survivors()[0]:
        wrong.append(f"{claim.name} does not notice: {', '.join(survivors)}")
    return wrong


def main(folder: Path = FOLDER) -> int:
    """0 if everything is proved; 1 otherwise, with a sentence for each failure."""
    console = Console(stderr=True)
    every = [*dict.fromkeys(claims().values()), *(linked(*pair) for pair in required())]
    decided = track(every, "deciding", console=console, transient=True, disable=not console.is_terminal)
    wrong = [sentence for claim in decided for sentence in failures(claim)]
    blocks = page.page()
    (folder / "ERRATA.md").write_text(page.markdown(blocks), encoding="utf-8")
    (folder / "CONVENTIONS.md").write_text(page.markdown(conventions.page()), encoding="utf-8")
    (folder / "errata.html").write_text(page.page_html(blocks), encoding="utf-8")
    _summary(len(every))
    for sentence in wrong:
        console.print(f"[red]{sentence}")
    return 1 if wrong else 0


def _summary(decided: int) -> None:
    """The counts per verdict, on standard output."""
    counts = page.counts()
    counts["all"] = sum(counts.values(), Counter())
    table = Table("", *counts, title=f"{decided} claims and links decided", box=SIMPLE_HEAD)
    for verdict in VERDICTS:
        table.add_row(verdict, *(str(c[verdict]) for c in counts.values()))
    table.add_row("items", *(str(c.total()) for c in counts.values()))
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
