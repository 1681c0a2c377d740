"""A report as one self-contained page: no script, no font, no image from elsewhere; it opens offline and prints.

This module prepares what `page.html.jinja` lays out, with `page.css` and `page.js` inside. The page escapes everything,
and its policy lets no script run but its own. Without scripts it loses the filters and the copying, nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from refnn.report import (
    MEANING,
    OUT_OF_SCOPE,
    SCOPE_LIMIT,
    VERDICTS,
    Finding,
    Report,
    Result,
    kind,
    nan_largest,
    summary,
)
from refnn.report.advice import remedy, why
from refnn.report.header import rows
from refnn.report.markdown import by_reason
from refnn.report.templates import template
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
    scopes,
    severity,
    size,
    subjects,
    title,
    worst_verdict,
)

LIMIT = 1_450_000  # characters: a page that a browser opens at once and a mail server lets through
UNEXPECTED, EXPECTED = 300, 200  # findings shown in full
OPS, PANELS = 200, 100  # rows of the matrix, figures
INPUTS = 12  # input values shown with a finding
WORST = 3  # findings of the first screen


def render(report: Report) -> str:
    """The page. Where findings are many or long it shows fewer of them, and says how many are left out."""
    filters = {"hex": hexadecimal, "short": number, "counted": counted}
    here = Path(__file__)
    form, page = template(here.with_name("page.html.jinja"), filters), ""
    parts = {name: here.with_name(f"page.{name}").read_text(encoding="utf-8") for name in ("css", "js")}
    digest = base64.b64encode(hashlib.sha256(parts["js"].encode()).digest()).decode()
    for share in (1.0, 0.5, 0.25, 0.1, 0.0):
        page = form.render(_view(report, share) | parts | {"digest": digest})
        if len(page.encode()) <= LIMIT:
            break
    return page


def _view(report: Report, share: float) -> dict[str, Any]:
    """All that the page shows; `share` of the findings that it may show."""
    table = summary(report)
    # Errors of one cause are one for each kind of result, to which a cell of the matrix leads.
    causes = [f for k in _KINDS for f in by_cause(f for f in report.unexpected if kind(f.what) == k)]
    unexpected = [_card(f, f"u{i}") for i, f in enumerate(in_order(causes))]
    expected = by_reason(report)
    groups: list[dict[str, Any]] = []
    room, number_ = round(EXPECTED * share), 0
    for reason, found in expected.items():
        fair = max(room // len(expected), 1) if room else 0
        cards = [_card(f, f"e{number_ + i}") for i, f in enumerate(found[:fair])]
        number_ += len(cards)
        groups.append(
            {"reason": cut(reason, 2000), "cases": len({f.case for f in found}), "cards": cards}
            | {"left": len(found) - len(cards)}
        )
    shown = unexpected[: round(UNEXPECTED * share)]
    anchors: dict[tuple[str, str, str], str] = {}
    for card in [*shown, *(c for g in groups for c in g["cards"])]:
        anchors.setdefault(_key(card["f"]), card["id"])
    pages = _pages({row["op"] for row in table})
    outside = report.count(OUT_OF_SCOPE)
    total = report.elements + outside
    required = f"{report.passed:,} of {report.required:,}"
    return {
        "title": title(report),
        "headline": headline(report),
        "extent": extent(report),
        "state": "ok" if report.ok else "partial" if report.partial else "bad",
        "partial": report.partial,
        "figures": [
            ("unexpected findings", f"{len(report.unexpected) + len(report.unlisted):,}"),
            ("expected findings", f"{sum(map(len, expected.values())):,}"),
            ("largest error / allowance that conforms", number(report.worst_ratio)),
            ("elements judged", f"{report.elements:,}"),
            ("cases", f"{report.cases:,}"),
            *([("required cases that pass", required)] if "required" in report.header else []),
            ("subjects", subjects(report)),
            ("out of scope", f"{outside / total:.2%}" if outside else "none"),
        ],
        "worst": [_told(f, report, anchors.get(_key(f))) for f in _worst(report)],
        "apart": apart(report) if report.profile.apart else "",
        "header": [(k, cut(v, 2000)) for k, v in rows(report.header)],
        "notes": [cut(str(n), 2000) for n in report.header.get("notes", ())],
        "models": _models(report.header),
        "matrix": _matrix(report, table, anchors, pages),
        "meaning": [(v, MEANING[v]) for v in (*VERDICTS, OUT_OF_SCOPE)],
        "panels": _figure(table),
        "ops": _ops(table, pages, [*shown, *(c for g in groups for c in g["cards"])]),
        "traces": _traces(report.header),
        "unexpected": shown,
        "unexpected_left": len(unexpected) - len(shown),
        "unlisted": report.unlisted[:100],
        "unlisted_left": max(len(report.unlisted) - 100, 0),
        "expected": groups,
        "stale": [(c, cut(report.expected[c], 2000)) for c in report.stale[:100]],
        "stale_left": max(len(report.stale) - 100, 0),
        "unsupported": [(cut(why, 2000), n) for why, n in list(report.unsupported.items())[:100]],
        "conforming": _conforming(report),
        "scopes": [s for s in scopes(report) if s.outside][:OPS],
        "scope_limit": SCOPE_LIMIT,
    }


# --- the header ------------------------------------------------------------------------------------------------------


def _models(header: Mapping[str, Any]) -> list[dict[str, str]]:
    """The models as rows of one table; ulps spelled out."""
    found = []
    for m in header.get("models", ()):
        if isinstance(m, Mapping):
            ulps = m.get("ulps") or {}
            plain = {k: str(v) for k, v in m.items() if k != "ulps" and v not in (False, 0.0)}
            found.append(plain | {"ulps": ", ".join(f"{k} {v:g}" for k, v in ulps.items())})
    return found


def _traces(header: Mapping[str, Any]) -> str:
    """The traces of training that the header holds, as an image in the page itself; empty where it holds none."""
    if not header.get("traces"):
        return ""
    from refnn.report.svg import plot

    return f"data:image/svg+xml;base64,{base64.b64encode(plot(header['traces']).encode()).decode()}"


# --- the matrix ------------------------------------------------------------------------------------------------------

Key = tuple[str, str, str]


def _key(f: Finding | Result) -> Key:
    return f.op, f.dtype, kind(f.what)


def _matrix(
    report: Report, table: Sequence[Mapping[str, Any]], anchors: Mapping[Key, str], pages: Mapping[str, str]
) -> dict[str, Any]:
    """One row for each op, one cell for each dtype and kind of result: first the ops that need a look."""
    cells = {(row["op"], row["dtype"], row["kind"]): row for row in table}
    unexpected = {_key(f) for f in report.unexpected}
    unlisted = set(report.unlisted)
    unexpected |= {_key(r) for r in report.results if r.case in unlisted}
    dtypes = sorted({d for _, d, _ in cells}, key=lambda d: (d.strip("bfloat"), d))
    columns = [(d, k) for d in dtypes for k in _KINDS]
    body = []
    for op in {op for op, _, _ in cells}:
        keys = [(op, *c) for c in columns]
        row = [_cell(cells.get(k), k in unexpected, report, anchors.get(k)) for k in keys]
        met = [c for c in row if c]
        state = next(s for s in _STATES if s in {c["state"] for c in met})
        largest = max((cells[k]["worst_ratio"] for k in keys if k in cells), key=nan_largest)
        bad, ratio = nan_largest(largest)
        rank = (_STATES.index(state), -max(severity(c["worst"]) for c in met), not bad, -ratio, op)
        body.append((rank, {"op": op, "page": pages.get(op), "state": state, "cells": row}))
    body.sort(key=lambda r: r[0])
    ranked = [row for _, row in body]
    states = [(s, n) for s in _STATES if (n := sum(row["state"] == s for row in ranked))]
    return {"dtypes": dtypes, "kinds": _KINDS, "rows": ranked[:OPS], "left": max(len(ranked) - OPS, 0)} | {
        "states": states
    }


_STATES = ("unexpected", "expected", "")  # of a cell, and of an op that has one; empty where all conforms
_KINDS = ("output", "gradient")


def _cell(row: Mapping[str, Any] | None, unexpected: bool, report: Report, anchor: str | None) -> dict[str, Any] | None:
    if row is None:
        return None
    verdicts = {v: row["verdicts"][v] for v in (*VERDICTS, OUT_OF_SCOPE) if row["verdicts"].get(v)}
    worst = worst_verdict(verdicts)
    conforms = worst in report.accept and not math.isnan(row["worst_ratio"])
    total = sum(verdicts.values())
    return {
        "worst": worst,
        "state": "" if conforms and not unexpected else "unexpected" if unexpected else "expected",
        "counts": [(v, f"{n:,}") for v, n in reversed(verdicts.items())],
        # At least a sliver for the one element in a million that matters.
        "bar": [(v, max(100 * n / total, 1.5)) for v, n in verdicts.items()],
        "ratio": number(row["worst_ratio"]),
        "tip": f"{row['op']} {row['dtype']} {row['kind']}: {row['elements']:,} elements judged, "
        f"largest error/allowance {number(row['worst_ratio'])}, {row['seconds']:.2f} s",
        "anchor": anchor,
    }


# --- a page for each op ----------------------------------------------------------------------------------------------


def _pages(ops: Iterable[str]) -> dict[str, str]:
    """The anchor of each op: its name, as far as an address can hold it."""
    found: dict[str, str] = {}
    for op in sorted(ops):
        name = "op-" + re.sub(r"[^A-Za-z0-9_.]+", "-", op)[:60]
        found[op] = name if name not in found.values() else f"{name}-{len(found)}"
    return found


def _ops(
    table: Sequence[Mapping[str, Any]], pages: Mapping[str, str], cards: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """What the page of each op shows beside its figure: its results in numbers, and its findings."""
    found: dict[str, dict[str, Any]] = {}
    for row in table:
        of = found.setdefault(row["op"], {"op": row["op"], "page": pages[row["op"]], "results": [], "cards": []})
        verdicts = [(v, f"{n:,}") for v in (*VERDICTS, OUT_OF_SCOPE) if (n := row["verdicts"].get(v))]
        of["results"].append(
            {"dtype": row["dtype"], "kind": row["kind"], "verdicts": verdicts[::-1]}
            | {"elements": f"{row['elements']:,}", "ratio": number(row["worst_ratio"])}
        )
    for card in cards:
        if card["f"].op in found:
            found[card["f"].op]["cards"].append(card)
    return list(found.values())[:OPS]


# --- the distribution of error/allowance -----------------------------------------------------------------------------

FIRST, LAST = -20, 19  # the bins shown; what lies beyond is counted in them
WIDTH, HEIGHT, LEFT, RIGHT, MIDDLE, REACH = 300, 176, 8, 8, 80, 66


def _figure(table: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Small multiples on one axis: for each op how many elements by error/allowance, outputs up, gradients down."""
    bins = [b for row in table for b in row["histogram"]]
    if not bins:
        return {"panels": [], "by_op": {}, "left": 0}
    first, last = max(min(bins), FIRST), min(max(max(bins), 0), LAST)
    low, high = min(first, last - 8) - 0.5, last + 1.5
    most = math.log10(1 + max(n for row in table for n in row["histogram"].values()))
    dtypes = sorted({row["dtype"] for row in table if row["histogram"]}, key=lambda d: (d.strip("bfloat"), d))

    def across(power: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (power - low) / (high - low)

    def up(count: int, sign: int) -> float:
        return MIDDLE - sign * REACH * math.log10(1 + count) / most

    def outline(histogram: Mapping[int, int], sign: int) -> str:
        merged: Counter[int] = Counter()
        for b, n in histogram.items():
            merged[min(max(b, first), last)] += n
        path, before = [], None
        for b in sorted(merged):
            if b - 1 != before:
                path.append(("" if before is None else f"V{MIDDLE}") + f"M{across(b):.1f} {MIDDLE}")
            path.append(f"V{up(merged[b], sign):.1f}H{across(b + 1):.1f}")
            before = b
        return "".join(path) + f"V{MIDDLE}"

    per_op: dict[str, list[Mapping[str, Any]]] = {}
    for row in table:
        per_op.setdefault(row["op"], []).append(row)
    ranked = sorted(per_op, key=lambda op: max(nan_largest(r["worst_ratio"]) for r in per_op[op]), reverse=True)
    panels = []
    for op in sorted(ranked[:PANELS]):
        of = per_op[op]
        judged = sum(r["elements"] for r in of)
        series = [
            {
                "colour": dtypes.index(r["dtype"]) % 4,
                "path": outline(r["histogram"], 1 if r["kind"] == "output" else -1),
                "tip": f"{r['dtype']} {r['kind']}: {sum(r['histogram'].values()):,} elements with an error "
                f"inside the worst case, the largest {number(r['worst_ratio'])} of the allowance",
            }
            for r in of
            if r["histogram"]
        ]
        panels.append(
            {
                "op": op,
                "series": series,
                "exact": f"{sum(r['verdicts'].get('exact', 0) for r in of) / judged:.0%}" if judged else "none",
                "largest": number(max((r["worst_ratio"] for r in of), key=nan_largest)),
            }
        )
    step = max(1, math.ceil((high - low) * math.log10(2) / 5))
    decades = range(math.ceil(low * math.log10(2)), math.floor(high * math.log10(2)) + 1)
    return {
        "panels": panels,
        "by_op": {p["op"]: p for p in panels},
        "left": max(len(ranked) - PANELS, 0),
        "dtypes": [(d, i % 4) for i, d in enumerate(dtypes)],
        "gathered": f"{2.0 ** (first + 1):.0e}" if min(bins) < first else "",
        "one": f"{across(0):.1f}",
        "ticks": [(f"{across(k / math.log10(2)):.1f}", k) for k in decades if k % step == 0],
        "rules": [
            (f"{MIDDLE - sign * REACH * math.log10(1 + 10**k) / most:.1f}")
            for k in range(2, 12, 2)
            for sign in (1, -1)
            if math.log10(1 + 10**k) <= most
        ],
        "most": f"{round(10**most - 1):,}",
        "width": WIDTH,
        "height": HEIGHT,
        "middle": MIDDLE,
        "top": MIDDLE - REACH,
        "bottom": MIDDLE + REACH,
    }


# --- the first screen ------------------------------------------------------------------------------------------------


def _worst(report: Report) -> list[Finding]:
    """The worst unexpected findings, of different ops as far as there are; where there are none, the expected ones."""
    wrong = [f for f in report.findings if f.verdict not in report.accept]
    causes: dict[Any, Finding] = {}
    for i, f in enumerate(in_order(by_cause(report.unexpected or wrong))):  # an error is the same in another format
        causes.setdefault((f.op, f.message.partition("\n")[0]) if f.verdict == "error" else i, f)
    ranked = list(causes.values())
    first: dict[str, Finding] = {}
    for f in ranked:
        first.setdefault(f.op, f)
    chosen = list(first.values())[:WORST]
    return [*chosen, *(f for f in ranked if f not in chosen)][:WORST]


def _told(f: Finding, report: Report, anchor: str | None) -> dict[str, Any]:
    """A finding in words."""
    of = {"grad": "the gradient of", "jvp": "the tangent of", "double": "the second derivative of"}
    head, _, name = f.what.partition("[")
    what = f"{of[head]} {name.removesuffix(']')}" if head in of and name else f"the {f.what}"
    does = {
        "error": "fails",
        "special": "is wrong about NaN, infinity or the sign of zero",
        "explained": "loses digits, as another known formula does",
        "suspect": "is further off than rounding should bring it",
    }.get(f.verdict, "is wrong")
    return {
        "f": f,
        "sentence": f"{what} {does}",
        "numbers": _card(f, "")["numbers"][:4],
        "size": size(f),
        "why": why(f),
        "message": cut(f.message.partition("\n")[0], 300),
        "remedy": remedy(f, report),
        "reason": report.reason(f),
        "replay": cut(f.replay, 1500),
        "anchor": anchor,
    }


# --- findings --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Number:
    name: str
    value: float


def _card(f: Finding, anchor: str) -> dict[str, Any]:
    values = [] if f.verdict == "error" and math.isnan(f.got) and math.isnan(f.expected) else _values(f)
    return {
        "f": f,
        "id": anchor,
        "place": place(f),
        "numbers": values,
        "inputs_left": max(len(f.inputs) - INPUTS, 0),
        "size": size(f) if values else "",
        "case": cut(f.case, 500),
        "message": cut(f.message, 2000),
        "replay": cut(f.replay, 1500),
    }


def _values(f: Finding) -> list[_Number]:
    inputs = [_Number(n, v) for n, v in islice(f.inputs.items(), INPUTS)]
    return [*(_Number(n, getattr(f, n)) for n in ("got", "expected", "error", "allowed")), *inputs]


def _conforming(report: Report) -> list[tuple[str, str, str, str, str, str]]:
    """Findings that conform and are worth knowing: which convention, where, how often."""
    found: Counter[tuple[str, str, str, str, str]] = Counter()
    for f in report.findings:
        if f.verdict in report.accept:
            found[f.op, f.dtype, f.what, f.verdict, f.name or f.message] += f.count
    return [(*k, f"{n:,}") for k, n in _top(found.items())]


def _top(items: Iterable[tuple[tuple[str, ...], int]]) -> list[Any]:
    return sorted(items, key=lambda kv: (-severity(kv[0][3]), kv[0]))[:OPS]
