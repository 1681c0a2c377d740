"""The page about one implementation: per op what is exact, what is ok, which algorithm explains the rest, and what
nothing explains. A function of the same lines as every other form, short enough to be committed and read."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

from refnn.report import OUT_OF_SCOPE, Finding, Report
from refnn.report.header import rows
from refnn.report.markdown import cell, code, table
from refnn.report.words import cut, extent, headline, number, place, severity, subject

_UNEXPLAINED = ("suspect", "violation", "special", "error")
_LEFT_OUT = ("command", "cpu features", "seed")  # of the header: they say nothing about what was found
_INTRODUCTION = """\
`refnn report` writes this page as `findings.md`, from the lines in `report.jsonl`. `exact` is correctly rounded, `ok`
is inside the derived bound; a convention is a choice at a kink or a tie. What is outside the bound of the accurate
algorithm is explained if another declared algorithm, which is named, gives it: sound, but less accurate. What nothing
explains is outside every declared algorithm under the declared model. Each kind is shown by its worst element, with the
line of Python that shows it again."""


def render(report: Report) -> str:
    """The page. Findings of one kind (op, result, verdict, algorithm, reason) share a row; the worst of them is
    shown."""
    explained = [f for f in report.findings if f.verdict == "explained"]
    unexplained = [f for f in report.findings if f.verdict in _UNEXPLAINED]
    shown = [(k, v) for k, v in rows(report.header) if k not in _LEFT_OUT]
    parts = [
        f"# What {cell(subject(report))} does",
        f"**{cell(headline(report))}.** {cell(extent(report))}.",
        _INTRODUCTION,
        table(("header", ""), ((cell(k), cell(cut(v, 400))) for k, v in shown), "ll"),
        "## By op",
        _by_op(report),
        "## What another algorithm explains",
        _kinds(report, explained),
        "## What nothing explains",
        _kinds(report, unexplained),
        *_stale(report),
        *_unsupported(report),
        "## Cases and seconds",
        "The seconds are those of the check, implementation included, on the processor named above.",
        table(("op", "dtype", "cases", "elements", "seconds"), _effort(report), "llrrr"),
    ]
    return "\n\n".join(parts) + "\n"


def _by_op(report: Report) -> str:
    verdicts: dict[str, Counter[str]] = defaultdict(Counter)
    names: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for r in report.results:
        verdicts[r.op].update(r.verdicts)
    for f in report.findings:
        verdicts[f.op] += Counter()  # a case may have come to no result at all
        names[f.op][f.verdict][f.name] += f.count
    head = ("op", "elements", "exact", "ok", "convention", "explained by", "nothing explains", "out of scope")
    return table(head, (_op(op, verdicts[op], names[op]) for op in sorted(verdicts)), "lrrrlllr")


def _op(op: str, verdicts: Counter[str], names: dict[str, Counter[str]]) -> tuple[str, ...]:
    judged = sum(n for v, n in verdicts.items() if v != OUT_OF_SCOPE)
    strange = [f"{verdicts[v]:,} {v}" for v in _UNEXPLAINED if verdicts[v]]
    return (
        cell(op),
        f"{judged:,}",
        *(f"{verdicts[v] / judged:.2%}" if judged else "" for v in ("exact", "ok")),
        *(
            ", ".join(f"{n:,} {cell(name)}" for name, n in sorted(names[v].items()))
            for v in ("convention", "explained")
        ),
        ", ".join(strange) or "nothing",
        f"{verdicts[OUT_OF_SCOPE]:,}" if verdicts[OUT_OF_SCOPE] else "",
    )


def _kinds(report: Report, findings: Sequence[Finding]) -> str:
    if not findings:
        return "Nothing."
    groups: dict[tuple[str, ...], list[Finding]] = defaultdict(list)
    for f in findings:
        groups[f.op, f.what, f.verdict, f.name, report.reason(f) or ""].append(f)
    order = sorted(groups, key=lambda k: (k[0], -severity(k[2]), k[1:]))
    head = ("op", "result", "verdict", "elements", "the worst", "why", "replay")
    return table(head, (_kind(key, groups[key]) for key in order), "lllrlll")


def _kind(key: tuple[str, ...], alike: Iterable[Finding]) -> tuple[str, ...]:
    op, what, verdict, name, reason = key
    alike = list(alike)
    worst = max(alike, key=lambda f: (math.isnan(f.ratio), f.ratio))
    dtypes = ", ".join(dict.fromkeys(f.dtype for f in alike))
    return (
        cell(op),
        cell(what),
        cell(f"{verdict} [{name}]" if name else verdict),
        f"{sum(f.count for f in alike):,} in {dtypes}",
        _worst(worst),
        cell(reason) or "**not expected**",
        code(cut(worst.replay, 600)) if worst.replay else "",
    )


def _worst(f: Finding) -> str:
    if f.verdict == "error":
        said, *_ = f.message.splitlines() or [""]  # then come paths of one machine
        return f"{code(place(f))} {cell(cut(said, 300))}"
    at = ", ".join(f"{n} = {v!r}" for n, v in list(f.inputs.items())[:4])
    parts = [f"{number(f.ratio)} times the allowance" if math.isfinite(f.ratio) else "", f.digits_lost]
    far = ", ".join(filter(None, parts))
    words = [f"({far})" if far else "", f"at {at}" if at else ""]
    shown = f"{code(place(f))} is {code(repr(f.got))}, not {code(repr(f.expected))}"
    return " ".join(filter(None, [shown, *map(cell, words)]))


def _stale(report: Report) -> list[str]:
    if not report.stale:
        return []
    body = ((code(what), cell(report.expected[what])) for what in report.stale)
    return ["## What was expected and no longer occurs", table(("finding", "why it was expected"), body, "ll")]


def _unsupported(report: Report) -> list[str]:
    if not report.skips:
        return []
    groups = ((f"{n:,}", cell(why)) for why, n in report.unsupported.items())
    return ["## What is not supported", table(("cases", "what"), groups, "rl")]


def _effort(report: Report) -> Iterator[tuple[str, ...]]:
    cases: dict[tuple[str, str], set[str]] = defaultdict(set)
    elements: Counter[tuple[str, str]] = Counter()
    seconds: dict[tuple[str, str], float] = defaultdict(float)
    for r in report.results:
        key = r.op, r.dtype
        cases[key].add(r.case)
        elements[key] += r.elements
        seconds[key] += r.seconds
    for key in sorted(cases):
        op, dtype = key
        yield cell(op), dtype, f"{len(cases[key]):,}", f"{elements[key]:,}", f"{seconds[key]:.1f}"
    total = sum(map(len, cases.values()))
    yield "all", "", f"{total:,}", f"{report.elements:,}", f"{sum(seconds.values()):.1f}"
