"""The errata as a page, in Markdown and in HTML with MathML, from the ledger and from what the claims compute."""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from fractions import Fraction
from itertools import takewhile
from typing import Any

import numpy as np
import sympy as sp

from derivations.ledger import ERRATA, VERDICTS, Item, Source, sources
from refnn.report.markdown import table

# --- the page, as blocks; text holds mathematics between dollars and **strong** words --------------------------------


@dataclass(frozen=True)
class Heading:
    level: int
    text: str


@dataclass(frozen=True)
class Paragraph:
    text: str


@dataclass(frozen=True)
class Facts:
    """Labelled lines."""

    lines: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Table:
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


Block = Heading | Paragraph | Facts | Table

INTRODUCTION = (
    "What five sources on the mathematics of neural networks print, checked by machine equation by equation. Each "
    "statement is a claim that a program has decided: printed forms that are wrong fail on the counterexample given, "
    "the corrected forms pass on the same and on all other cases, and every claim fails when it is mutated. Numbers in "
    "counterexamples are computed, not typed. **Proved** says for which sizes or values; nothing is claimed beyond.",
    "Written by `python -m derivations`; do not edit. Equations are quoted, prose is not. Statements of the sources "
    "that have lost their formula are reconstructed and marked so.",
)


def page() -> list[Block]:
    """The whole page."""
    blocks: list[Block] = [Heading(1, "Errata of five sources"), *map(Paragraph, INTRODUCTION)]
    for source in sources():
        blocks += _source(source)
    blocks += _coverage()
    return blocks


def _source(source: Source) -> Iterator[Block]:
    yield Heading(2, f"{source.key}: {source.author}, {source.title} ({source.date})")
    yield Heading(3, "To correct")
    for item in source.items:
        if item.verdict in ERRATA:
            yield from _erratum(item)
    yield Heading(3, "Holds under an assumption")
    assuming = [i for i in source.items if i.verdict == "holds under an assumption"]
    rows = tuple((*_who(i), i.why, _without(i), i.scope) for i in assuming)
    yield Table(("id", "place", "statement", "assumption", "without it", "proved"), rows)
    yield Heading(3, "Holds")
    holding = tuple((*_who(i), i.why, i.scope) for i in source.items if i.verdict == "holds")
    yield Table(("id", "place", "statement", "remark", "proved"), holding)


def _who(item: Item) -> tuple[str, str, str]:
    bound = f" (`{item.definition}`)" if item.definition else ""
    return item.id, item.place, item.printed + bound + (" (reconstructed)" if item.reconstructed else "")


def _erratum(item: Item) -> Iterator[Block]:
    yield Heading(4, f"{item.id}, {item.place}: {item.verdict}" + (", reconstructed" if item.reconstructed else ""))
    claim = item.claim
    assert claim is not None and claim.counterexample is not None
    where, true, says = claim.counterexample
    yield Facts(
        (
            ("Printed", item.printed),
            ("Should be", item.corrected),
            ("Why", item.why),
            ("Counterexample", f"{where}. True: {shown(true)}. Printed form: {shown(says)}."),
            ("Proved", item.scope),
        )
    )
    if item.table:
        printed = list(claim.cases(claim.printed))
        yield Table(("case", "true", "printed form"), tuple((w, shown(t), shown(s)) for w, t, s in printed))


def _without(item: Item) -> str:
    if item.claim is None or item.claim.counterexample is None:
        return ""
    where, true, says = item.claim.counterexample
    return f"{where}: {shown(true)}, not {shown(says)}"


def counts() -> dict[str, Counter[str]]:
    """How many items each source has of each verdict."""
    return {source.key: Counter(item.verdict for item in source.items) for source in sources()}


def _coverage() -> Iterator[Block]:
    yield Heading(2, "Coverage")
    found = counts()
    rows = [(key, *(str(c[v]) for v in VERDICTS), str(c.total())) for key, c in found.items()]
    total = sum(found.values(), Counter())
    rows.append(("all", *(str(total[v]) for v in VERDICTS), str(total.total())))
    yield Table(("source", *VERDICTS, "items"), tuple(rows))
    yield Heading(3, "What stays unproved")
    yield Paragraph(
        "**For all sizes** are proved the statements marked so. The others are proved for the sizes named beside them: "
        "for all values of the symbols where a network or a shape is named, for those numbers only where numbers are. "
        "Networks of one size say nothing, strictly, about another."
    )
    yield Paragraph(
        "**Away from kinks** only: in symbolic networks ReLU is a factor of 0 or 1 for each node. At a kink the "
        "derivative is a choice, which the sources and refnn make alike."
    )
    yield Paragraph(
        "**On trust** are SymPy's differentiation and the arithmetic of python-flint and of Python's fractions; and "
        "that functions of which nothing is known may be treated as independent of their derivatives at a point."
    )
    yield Paragraph("**Not checkable**, for want of a formula, a picture or a file:")
    missing = [(*_who(i), i.why) for s in sources() for i in s.items if i.verdict == "not checkable"]
    yield Table(("id", "place", "statement", "why"), tuple(missing))


DECIMAL = 10**4  # fractions with these denominators are printed as decimals


def shown(value: Any) -> str:
    """A value of a case, short enough for a line."""
    if isinstance(value, (tuple, list, np.ndarray)):
        return f"({', '.join(map(shown, value))})"
    if value is None:
        return "none"
    if isinstance(value, (bool, np.bool_, sp.logic.boolalg.BooleanAtom)):
        return "yes" if value else "no"
    if isinstance(value, (Fraction, sp.Rational)) and not DECIMAL % value.denominator:
        return f"{float(value):g}"
    if isinstance(value, sp.Expr) and value.is_number and not value.is_Rational:
        return f"{sp.N(value, 6)}"
    return str(value)


# --- Markdown --------------------------------------------------------------------------------------------------------


def markdown(blocks: list[Block]) -> str:
    parts = []
    for block in blocks:
        match block:
            case Heading(level, text):
                parts.append(f"{'#' * level} {text}")
            case Paragraph(text):
                parts.append(text)
            case Facts(facts):
                parts.append("\n".join(f"- **{label}:** {text}" for label, text in facts if text))
            case Table(header, rows):
                parts.append(table([*map(_cell, header)], ([*map(_cell, row)] for row in rows), "l" * len(header)))
    return "\n\n".join(parts) + "\n"


def _cell(text: str) -> str:
    """A bar would end the cell: in mathematics it has a name."""
    return re.sub(r"\$[^$]*\$", lambda m: m[0].replace("|", r"\vert "), text)


# --- HTML ------------------------------------------------------------------------------------------------------------

STYLE = """
:root {
  color-scheme: light dark;
  --ink: #1b1b1b; --paper: #fdfdfb; --quiet: #5a5a5a; --rule: #ccc; --mark: #ffe08a; --link: #1f5fae;
}
@media (prefers-color-scheme: dark) {
  :root { --ink: #e3e5e7; --paper: #14171a; --quiet: #a3abb3; --rule: #3a4046; --mark: #6b4e00; --link: #7db2f2; }
}
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0; overflow-wrap: anywhere; }
body { color: var(--ink); background: var(--paper); }
main { max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
a { color: var(--link); }
h2 { margin-top: 3rem; border-bottom: 2px solid var(--ink); } h4 { margin-bottom: .2rem; scroll-margin-top: 1rem; }
h4:target, h4:target + dl { outline: 2px solid var(--link); outline-offset: .3rem; }
.here { text-decoration: none; margin-left: .4rem; font-weight: 400; }
nav ul { columns: 16rem; padding-left: 1.2rem; margin: .3rem 0 1rem; } nav h3 { margin: 1rem 0 0; }
dl { margin: 0 0 1.5rem; display: grid; grid-template-columns: 9rem minmax(0, 1fr); gap: .2rem 1rem; }
dt { color: var(--quiet); } dd { margin: 0; min-width: 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: 1rem 0; min-width: 40rem; } td, th { text-align: left; vertical-align: top; }
td, th { padding: .3rem .6rem; border-bottom: 1px solid var(--rule); }
math { display: inline math; }
math { font-family: "STIX Two Math", "Cambria Math", "Latin Modern Math", "DejaVu Math TeX Gyre", math; }
.changed { background: var(--mark); border-bottom: 2px solid currentcolor; color: inherit; }
:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
@media (max-width: 40rem) { dl { grid-template-columns: 1fr; } dd { margin-bottom: .4rem; } }
@media print { nav, .here { display: none; } .scroll { overflow: visible; } dl, tr { break-inside: avoid; } }
"""


PRIMED = r"<msup>(<mi>[^<]*</mi>)<mi>&#x02032;</mi></msup>"
LEAF = re.compile(r"<(mi|mn|mo)\b([^>]*)>([^<]*)</\1>")  # a symbol of a formula in MathML
ALIKE = 0.5  # the share of symbols in common from which on the others are marked: below it everything is another


def page_html(blocks: list[Block]) -> str:
    """One file that needs nothing else: browsers typeset MathML by themselves. It begins with its contents, each
    heading has an anchor, and what a correction changes is marked in the printed form and in the corrected one."""
    body, anchors = [], _anchors(blocks)
    for block in blocks:
        match block:
            case Heading(level, text) if anchor := anchors.get(text):
                here = f'<a class="here" href="#{anchor}" aria-label="Link to {html.escape(_plain(text))}">#</a>'
                body.append(f'<h{level} id="{anchor}">{_inline(text)}{here}</h{level}>')
            case Heading(level, text):
                body.append(f"<h{level}>{_inline(text)}</h{level}>")
            case Paragraph(text):
                body.append(f"<p>{_inline(text)}</p>")
            case Facts(facts):
                shown = {label: _inline(text) for label, text in facts if text}
                if "Printed" in shown and "Should be" in shown:
                    shown["Printed"], shown["Should be"] = _marked(shown["Printed"], shown["Should be"])
                terms = (f"<dt>{label}</dt><dd>{_scrolled(text, label)}</dd>" for label, text in shown.items())
                body.append(f"<dl>{''.join(terms)}</dl>")
            case Table(header, rows):
                head = "".join(f'<th scope="col">{_inline(h)}</th>' for h in header)
                lines = ("".join(f"<td>{_inline(c)}</td>" for c in row) for row in rows)
                table_ = f"<table><tr>{head}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"
                body.append(_scrolled(table_, f"Table: {', '.join(header)}", always=True))
    title = blocks[0].text if isinstance(blocks[0], Heading) else "Errata"
    first = next((i for i, b in enumerate(blocks) if isinstance(b, Heading) and b.level == 2), len(body))
    if anchors:
        body.insert(first, _contents(blocks, anchors))
    return (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{html.escape(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{STYLE}</style>\n<main>\n" + "\n".join(body) + "\n</main>\n</html>\n"
    )


def _anchors(blocks: list[Block]) -> dict[str, str]:
    """The anchor of each source and of each statement to correct, by the text of its heading."""
    found = {}
    for block in blocks:
        if isinstance(block, Heading) and block.level in (2, 4):
            found[block.text] = re.sub(r"[^\w.-]+", "-", re.split("[,:]", block.text)[0])
    return found


def _contents(blocks: list[Block], anchors: dict[str, str]) -> str:
    """The sources, and what is to correct by how wrong it is, with counts."""
    headings = [b for b in blocks if isinstance(b, Heading) and b.text in anchors]
    found: dict[str, list[str]] = {"Sources": [], **{v: [] for v in ERRATA}}
    of = 0
    for i, h in enumerate(headings):
        link = f'<a href="#{anchors[h.text]}">{html.escape(re.split("[,:]", h.text)[0])}</a>'
        if h.level == 4:
            verdict = next(v for v in ERRATA if h.text.removesuffix(", reconstructed").endswith(f": {v}"))
            found[verdict].append(f"<li>{link} {_inline(h.text.partition(', ')[2].rpartition(': ')[0])}</li>")
            continue
        of = sum(1 for _ in takewhile(lambda x: x.level == 4, headings[i + 1 :]))
        if of:
            found["Sources"].append(f"<li>{link}: {of} to correct</li>")
    parts = [f"<h3>{k[0].upper()}{k[1:]} ({len(v)})</h3><ul>{''.join(v)}</ul>" for k, v in found.items() if v]
    total = sum(len(v) for k, v in found.items() if k != "Sources")
    return (
        f'<nav aria-label="Contents"><h2>Contents: {total} statements to correct</h2><p>An id is the number of the '
        "source and that of the equation in it; letters stand where the source has no number. What holds stands "
        'below what is to correct, and <a href="#Coverage">Coverage</a> counts all. '
        f'<span class="changed">Marked</span> is what a correction changes.</p>{"".join(parts)}</nav>'
    )


def _plain(text: str) -> str:
    return text.partition(",")[0].partition(":")[0]


def _scrolled(text: str, label: str, always: bool = False) -> str:
    """What may be wider than a phone, in a box that scrolls and that the keyboard reaches."""
    if not always and "<math" not in text:
        return text
    return f'<div class="scroll" role="group" tabindex="0" aria-label="{html.escape(label)}">{text}</div>'


def _marked(printed: str, corrected: str) -> tuple[str, str]:
    """Both forms with the symbols marked that the other has not, unless they have little in common."""
    leaves = [list(LEAF.finditer(text)) for text in (printed, corrected)]
    same = SequenceMatcher(None, [m[0] for m in leaves[0]], [m[0] for m in leaves[1]], autojunk=False)
    if same.ratio() < ALIKE:
        return printed, corrected
    changed: tuple[set[int], set[int]] = (set(), set())
    for tag, i, j, k, n in same.get_opcodes():
        if tag != "equal":
            changed[0].update(range(i, j))
            changed[1].update(range(k, n))
    return tuple(  # type: ignore[return-value]
        _with_class(text, [m for i, m in enumerate(of) if i in those])
        for text, of, those in zip((printed, corrected), leaves, changed, strict=True)
    )


def _with_class(text: str, leaves: list[re.Match[str]]) -> str:
    for m in reversed(leaves):
        text = f'{text[: m.start()]}<{m[1]}{m[2]} class="changed">{m[3]}</{m[1]}>{text[m.end() :]}'
    return text


def _inline(text: str) -> str:
    from latex2mathml.converter import convert

    pieces = text.split("$")
    for n, piece in enumerate(pieces):
        if n % 2:
            # Displayed, for limits above and below; the style keeps it in its line. A prime is raised as it is: in an
            # exponent it could not be seen.
            mathml = convert(piece, display="block")
            pieces[n] = re.sub(PRIMED, r'<mrow>\1<mo lspace="0" rspace="0">&#x2032;</mo></mrow>', mathml)
            continue
        plain = html.escape(piece, quote=False)
        plain = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", plain)
        pieces[n] = re.sub(r"`(.+?)`", r"<code>\1</code>", plain)
    return "".join(pieces)
