"""What the written forms of a report share: its headline, its numbers, and the order of its findings."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from refnn.report import CONFORMING, OUT_OF_SCOPE, OUTPUTS, VERDICTS, Finding, Report


def subject(report: Report) -> str:
    """What was checked."""
    return str(report.header.get("subject") or "the implementation")


def headline(report: Report) -> str:
    """The outcome in one sentence, without its full stop."""
    name = subject(report)
    if not report.elements and not report.findings:
        found = nothing(report)
        why = f": {unfinished(report)}" if report.partial else f": {found}" if found else ", which is an error"
        return f"Nothing was checked of {name}{why}"
    if report.ok:
        return f"{name} conforms{waived(report)}"
    reasons = [
        counted(len(report.unexpected), "unexpected finding"),
        f"{counted(len(report.unlisted), 'case')} without a finding that says why",
        f"{counted(len(report.stale), 'expected finding')} no longer {'occurs' if len(report.stale) == 1 else 'occur'}",
        f"too much out of scope in {', '.join(report.out_of_scope)}" if report.out_of_scope else "",
    ]
    found = "; ".join(r for r in reasons if r and not r.startswith("0 "))
    if report.partial:
        return f"{name}: {unfinished(report)}; in what was run {found or 'nothing unexpected was found'}"
    return f"{name} does not conform{waived(report)}: {found}"


def unfinished(report: Report) -> str:
    """How a partial run is partial."""
    if "required" not in report.header:
        return f"the run was interrupted after {counted(report.cases, 'case')}"
    ran = {r.case for r in report.results} | {f.case for f in report.findings} | report.skips.keys()
    return f"only {len(ran):,} of the {counted(report.required, 'required case')} were run"


def waived(report: Report) -> str:
    """What was loosened or waived, to stand next to the verdict."""
    declared = report.header.get("algorithm", "accurate")
    part = f" in its {OUTPUTS}" if report.header.get("results") == OUTPUTS else ""
    more = sorted(report.accept - CONFORMING, key=severity)
    taken = part + (f" by the algorithm {declared}" if declared != "accurate" else "")
    taken += f", where {' and '.join(more)} {'are' if len(more) > 1 else 'is'} accepted" if more else ""
    known = any(f.verdict not in report.accept and report.reason(f) is not None for f in report.findings)
    return taken + (", apart from expected findings" if known else "")


def share(report: Report) -> str:
    """How many of the required cases pass, and beside it what is skipped and what fails as expected."""
    required = report.required
    failed = {f.case for f in report.findings if f.verdict not in report.accept}
    known = failed - {f.case for f in report.unexpected} - set(report.unlisted)
    parts = [f"{report.passed:,} of {required:,} required cases pass ({report.passed / max(required, 1):.1%})"]
    parts += [f"{len(known):,} expected to fail"] if known else []
    parts += [f"{len(report.skips):,} skipped"] if report.skips else []
    return ", ".join(parts)


def extent(report: Report) -> str:
    """How much was checked, under which model, and how close it comes to its allowance."""
    asked = f"{share(report)}; " if "required" in report.header else ""
    model = f" under model {report.header['model']}" if report.header.get("model") else ""
    return (
        f"{asked}{counted(report.elements, 'element')} in {counted(report.cases, 'case')} of {subjects(report)}; "
        f"the largest error that conforms is {number(report.worst_ratio)} of its allowance{model}"
    )


def subjects(report: Report) -> str:
    """How many ops there are results of, and how many networks."""
    parts = (" stepwise", " end to end")  # a network is judged as
    networks = {r.op for r in report.results if r.family == "network" or r.op.endswith(parts)}
    ops = len({r.op for r in report.results} - networks)
    names = {n.removesuffix(parts[0]).removesuffix(parts[1]) for n in networks}
    if not names:
        return counted(ops, "op")
    of_networks = counted(len(names), "network")
    return f"{counted(ops, 'op')} and {of_networks}" if ops else of_networks


def title(report: Report) -> str:
    return f"{'PARTIAL: ' if report.partial else ''}gradient agreement of {subject(report)}"


# --- numbers ---------------------------------------------------------------------------------------------------------


def counted(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def number(x: float) -> str:
    """About three digits, for a reader."""
    if 1e3 <= abs(x) < 1e6:
        return f"{x:,.0f}"
    digits = 3
    while x < 1 and f"{x:.{digits}g}" == "1":  # what is inside its allowance must not look as if it had used it up
        digits += 1
    return f"{x:.{digits}g}"


def hexadecimal(x: float) -> str:
    """Every bit of x, as `float.fromhex` reads it, without the zeros at the end."""
    text = float(x).hex()
    mantissa, p, exponent = text.partition("p")
    if not p:
        return text  # nan, inf
    return mantissa.rstrip("0").removesuffix(".") + p + exponent if "." in mantissa else text


def cut(text: str, limit: int) -> str:
    """The text, or its beginning and how much is left out."""
    return text if len(text) <= limit else f"{text[:limit]} [{len(text) - limit:,} characters left out]"


def size(f: Finding) -> str:
    """How large the error of a finding is; empty where it is none."""
    if math.isnan(f.ratio):
        return ""
    allowance = f"{number(f.ratio)} times the allowance" if math.isfinite(f.ratio) else "nothing is allowed"
    parts = [allowance, f"{number(f.ulps)} ulp" if math.isfinite(f.ulps) else "", f.digits_lost]
    return ", ".join(filter(None, parts))


# --- findings --------------------------------------------------------------------------------------------------------


def severity(verdict: str) -> int:
    return VERDICTS.index(verdict) if verdict in VERDICTS else -1


# How surely a finding is the fault that was looked for: a wrong number tells more than a call that was refused, which
# may be a parameter that is not supported.
SURENESS = ("violation", "special", "error", "suspect", "explained")


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """First the worst of each kind (op, dtype, result, verdict, algorithm), then the second of each, and so on, the
    surest first among them: the many alike of one op do not hide what another does."""

    def rank(f: Finding) -> tuple[Any, ...]:
        sure = SURENESS.index(f.verdict) if f.verdict in SURENESS else len(SURENESS)
        return sure, not math.isnan(f.ratio), -f.ratio

    worst = sorted(findings, key=rank)
    seen: Counter[tuple[str, ...]] = Counter()
    ranked = []
    for position, f in enumerate(worst):
        key = (f.op, f.dtype, f.what, f.verdict, f.name)
        ranked.append((seen[key], position, f))
        seen[key] += 1
    return [f for *_, f in sorted(ranked, key=lambda r: r[:2])]


def place(f: Finding) -> str:
    """Which element: `grad[x][3, 0]`."""
    return f.what + (str(list(f.index)) if f.index else "")


def worst_verdict(verdicts: dict[str, int]) -> str:
    """The worst verdict with a count; out of scope where nothing was judged."""
    return max((v for v, n in verdicts.items() if n), key=severity, default="error")


@dataclass(frozen=True)
class Scope:
    """How much of an op nothing is claimed about."""

    op: str
    judged: int
    outside: int
    why: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        return self.outside / max(self.judged + self.outside, 1)


def scopes(report: Report) -> list[Scope]:
    """One for each op."""
    judged: Counter[str] = Counter()
    outside: Counter[str] = Counter()
    why: dict[str, Counter[str]] = {}
    for r in report.results:
        judged[r.op] += r.elements
        outside[r.op] += r.verdicts.get(OUT_OF_SCOPE, 0)
        why.setdefault(r.op, Counter()).update(r.scope)
    return [Scope(op, judged[op], outside[op], tuple(w for w, _ in why[op].most_common(2))) for op in sorted(judged)]


def scope_lines(report: Report) -> list[str]:
    """For each op with elements out of scope how many, why, and at the end what to do."""
    found = sorted((s for s in scopes(report) if s.outside), key=lambda s: -s.share)
    lines = [f"{counted(s.outside, 'element')} of {s.op} out of scope: {'; '.join(s.why)}" for s in found]
    return [*lines, "to have them judged, scale the inputs down, or name a model= of a wider range"] if lines else []


def nothing(report: Report) -> str:
    """What became of all elements, where none was judged; empty where there were none."""
    outside = report.count(OUT_OF_SCOPE)
    return f"{counted(outside, 'element')}, all out of scope" if outside and not report.elements else ""
