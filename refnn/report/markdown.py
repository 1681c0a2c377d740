"""A report as Markdown, short enough for the summary of a CI job."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from refnn.report import OUT_OF_SCOPE, VERDICTS, Finding, Report, summary
from refnn.report.header import rows
from refnn.report.words import (
    apart,
    by_cause,
    counted,
    cut,
    extent,
    headline,
    hexadecimal,
    in_order,
    number,
    place,
    title,
    worst_verdict,
)

SHOWN = 50  # findings in each table


def render(report: Report) -> str:
    """Headline, header, one row for each op, and the findings with the line that replays each."""
    parts = [
        f"# {cell(title(report))}",
        f"**{cell(headline(report))}.** {cell(extent(report))}.",
        *(f"Note: {cell(str(n))}." for n in report.header.get("notes", ())),
        table(("header", ""), ((cell(k), cell(cut(v, 400))) for k, v in rows(report.header)), "ll"),
        "## Verdicts",
        _verdicts(report),
    ]
    if report.profile.apart:
        parts.insert(2, f"{cell(apart(report)).capitalize()}.")
    if unexpected := in_order(by_cause(report.unexpected)):
        parts += ["## Unexpected findings", _findings(unexpected)]
    if report.unlisted:
        parts += ["## Cases that do not conform, though no finding says why", _cases(report.unlisted)]
    for reason, found in by_reason(report).items():
        parts += [f"## Expected: {cell(reason)}", _findings(found)]
    if report.stale:
        parts.append("## Expected findings that no longer occur")
        parts.append(table(("case", "reason"), ((code(c), cell(report.expected[c])) for c in report.stale), "ll"))
    if report.skips:
        groups = ((f"{n:,}", cell(why)) for why, n in report.unsupported.items())
        parts += ["## Not supported", table(("cases", "what"), groups, "rl")]
    if report.out_of_scope:
        parts += ["## Too much out of scope", ", ".join(map(cell, report.out_of_scope)) + "."]
    return "\n\n".join(parts) + "\n"


def by_reason(report: Report) -> dict[str, list[Finding]]:
    """The findings that do not conform and are expected, under the reason that was given, the worst first."""
    groups: dict[str, list[Finding]] = {}
    for f in in_order(f for f in report.findings if f.verdict not in report.accept):
        if (reason := report.reason(f)) is not None:
            groups.setdefault(reason, []).append(f)
    return groups


def _verdicts(report: Report) -> str:
    body = []
    for row in summary(report):
        counts = ", ".join(f"{n:,} {v}" for v in (*VERDICTS, OUT_OF_SCOPE) if (n := row["verdicts"].get(v)))
        worst = worst_verdict(row["verdicts"])
        ratio = number(row["worst_ratio"])
        body.append((cell(row["op"]), row["dtype"], row["kind"], f"{row['elements']:,}", worst, ratio, counts))
    return table(("op", "dtype", "of", "elements", "worst", "error/allowance", "counts"), body, "lllrlrl")


def _findings(findings: Sequence[Finding]) -> str:
    names = ("verdict", "where", "got", "expected", "error/allowance", "ulps", "at", "count", "replay")
    shown = table(names, map(_row, findings[:SHOWN]), "llllrrlrl")
    left = len(findings) - SHOWN
    return shown + (f"\n\nand {counted(left, 'finding')} more in the JSON Lines." if left > 0 else "")


def _row(f: Finding) -> tuple[str, ...]:
    verdict = f"{f.verdict} [{f.name}]" if f.name else f.verdict
    lost = f" ({f.digits_lost})" if f.digits_lost else ""
    error = f.verdict == "error"
    at = ", ".join(f"{n} = {v!r} ({hexadecimal(v)})" for n, v in list(f.inputs.items())[:8])
    return (
        cell(verdict),
        code(f"{place(f)} of {f.case}") + (" " + cell(cut(f.message, 300)) if f.message else ""),
        "" if error else code(f"{f.got!r}"),
        "" if error else code(f"{f.expected!r}"),
        "" if error else number(f.ratio),
        "" if error else f"{number(f.ulps)}{lost}",
        cell(at),
        f"{f.count:,}",
        code(cut(f.replay, 600)) if f.replay else "",
    )


def _cases(ids: Sequence[str]) -> str:
    left = len(ids) - SHOWN
    shown = "\n".join(f"- {code(c)}" for c in ids[:SHOWN])
    return shown + (f"\n\nand {counted(left, 'case')} more." if left > 0 else "")


def table(names: Sequence[str], body: Iterable[Sequence[str]], align: str = "") -> str:
    """A table; `align` has an l or an r for each column. Cells are Markdown: only what would end one is escaped."""
    marks = {"l": " --- |", "r": " ---: |"}
    rule = "".join(marks[a] for a in align) or "---|" * len(names)
    head, *lines = ("| " + " | ".join(_BAR.sub(r"\|", c) for c in cells) + " |" for cells in (names, *body))
    return "\n".join([head, f"|{rule}", *lines])


_BAR = re.compile(r"(?<!\\)\|")  # that is not escaped yet


def read_tables(page: str) -> list[list[list[str]]]:
    """The tables of a page, each as the cells of its lines: first its head."""
    found: list[list[list[str]]] = []
    inside = False
    for line in page.splitlines():
        if line.startswith("|") and not inside:
            found.append([])
        inside = line.startswith("|")
        if inside:
            found[-1].append([c.strip().replace(r"\|", "|") for c in _BAR.split(line)[1:-1]])
    return [[head, *lines] for head, _, *lines in found]


def cell(text: str) -> str:
    """Text that stays one cell, and no markup."""
    line = " ".join(str(text).split())
    for c in "\\`*_[]|":
        line = line.replace(c, "\\" + c)
    return line.replace("&", "&amp;").replace("<", "&lt;")


def code(text: str) -> str:
    """Code in a cell: a table takes a pipe for its own even there, and the fence must be longer than any inside."""
    line = " ".join(text.split()).replace("|", "\\|")
    fence = "`"
    while fence in line:
        fence += "`"
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{pad}{line}{pad}{fence}"
