"""What the written forms of a report share: its headline, its numbers, and the order of its findings."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from textwrap import indent
from typing import Any

from refnn.report import APART, CONFORMING, OUT_OF_SCOPE, OUTPUTS, SCOPE_LIMIT, VERDICTS, Finding, Report

RESULTS = 8  # lines of results, of one op with its inputs
NOTES = 5  # lines of them: a run of all networks has dozens
GROUPS = 8  # groups of what is not supported, in one line


def in_sentences(report: Report) -> str:
    """The report as text that a person can act on: the outcome in one line, what qualifies it, and findings."""
    of_fixtures, name, dtype = "required" in report.header, *map(report.header.get, ("subject", "dtype"))
    of_a_call = not of_fixtures and "command" not in report.header
    subject = f"{name} in {dtype}" if dtype else str(name)
    subject = f"refnn.check({name!r}, dtype={dtype!r})" if of_a_call else subject
    deciding, told = report.part(apart=False), support(report)
    unclaimed = scope_lines(deciding)
    if not report.elements and not report.findings:
        why = f": {found}" if (found := nothing(report) or told) else ", which is an error"
        more = [told, *unclaimed] if nothing(report) and told else unclaimed
        return "\n".join([f"{subject}: nothing was checked{why}", *(f"  {line}" for line in more)])
    cases = f" in {counted(deciding.cases, 'case')}" if of_fixtures or not told else ""
    head = (
        f"{subject}: {'conforms' if report.ok else 'does not conform'}{few(report)}{waived(report)}: "
        f"{'' if of_fixtures or not told else f'{told}; '}{counted(deciding.elements, 'element')}{cases} "
        f"({counts(deciding)}); largest error/allowance {number(deciding.worst_ratio)} under model "
        f"{report.header.get('model', '')}"
    )
    notes = report.header.get("notes", ())
    lines = [head, *(f"  note: {n}" for n in notes[:NOTES])]
    if len(notes) > NOTES:
        lines.append(f"  {counted(len(notes) - NOTES, 'note')} more stand in the header of the report")
    if of_fixtures:
        lines.append(f"  {share(report)}")
        lines += [f"  {told}"] if told else []
    if report.header.get("covered"):
        lines.append(f"  covered: {report.header['covered']}")
    lines += [f"  {line}" for line in by_result(deciding)]
    lines += [f"  {undeclared(report)}"] if report.mostly_undeclared else []
    lines += [f"  out of scope beyond {SCOPE_LIMIT:.0%}: {o}" for o in report.out_of_scope]
    lines += [f"  {line}" for line in unclaimed[:5]]
    lines += [f"  expected finding no longer occurs: {c} ({report.expected[c]})" for c in report.stale]
    lines += [f"  does not conform, though no finding says why: {c}" for c in report.unlisted[:5]]
    lines += _shown(report.unexpected, 5, report)
    if report.partial:
        lines.append(f"  partial: {unfinished(report)}")
    if report.profile.apart:
        lines.append(f"  {apart(report)}")
        lines += _shown(report.part(apart=True).unexpected, 3, report)
    return "\n".join(lines)


def _shown(findings: Iterable[Finding], most: int, report: Report) -> list[str]:
    """The first few findings in order, each with why it is one, what to try, and the line that replays it, unless that
    stands above already."""
    from refnn.report.advice import remedy, why

    found = in_order(by_cause(findings))
    lines: list[str] = []
    said: set[str] = set()
    for f in found[:most]:
        lines.append(indent(str(f).rstrip(), "  "))
        told = [("why", why(f)), ("try", remedy(f, report)), ("replay", f.replay)]
        lines += [f"    {name:8} {text}" for name, text in told if text and text not in said]
        said.update(text for _, text in told)
    return lines + ([f"  and {len(found) - most} findings more"] if len(found) > most else [])


def by_result(report: Report, *, verdicts: bool = True) -> list[str]:
    """A line for each result of an implementation: in how many cases it is ok, and in how many it is not, with the
    verdicts. Of many results only those that are not ok in all cases have a line of their own."""
    rows: dict[tuple[str, str, str], dict[str, Counter[str]]] = {}
    failed = [f for f in report.findings if f.verdict not in report.accept]
    reasons = {(f.case, f.dtype, f.what): report.reason(f) for f in failed}
    reasons |= {(f.case, f.dtype, f.what): None for f in report.unexpected}  # one of several is enough
    for r in report.results:
        worst = worst_verdict(dict(r.verdicts)) if r.elements else OUT_OF_SCOPE if r.verdicts else "ok"
        bad = worst not in report.accept and worst != OUT_OF_SCOPE
        known = bad and reasons.get((r.case, r.dtype, r.what)) is not None and not math.isnan(r.worst_ratio)
        state = "as expected wrong" if known else "wrong" if bad or math.isnan(r.worst_ratio) else "ok"
        state = "out of scope" if worst == OUT_OF_SCOPE and state == "ok" else state
        row = rows.setdefault((r.op, r.dtype, r.what), {})
        row.setdefault(state, Counter())[worst] += 1
    ops, dtypes = ({key[i] for key in rows} for i in (0, 1))
    sound = [key for key, row in rows.items() if row.keys() == {"ok"}]
    short = len(rows) > RESULTS
    lines = []
    for key in [k for k in rows if k not in sound][:RESULTS] if short else rows:
        row = rows[key]
        n = sum(c.total() for c in row.values())
        parts: list[str] = []
        for state in ("ok", "wrong", "as expected wrong", "out of scope"):
            if count := row.get(state):
                named = verdicts and "wrong" in state
                kinds = ", ".join(f"{v} in {m:,}" for v, m in count.most_common()) if named else ""
                of = f" of {counted(n, 'case')}" if not parts else ""
                parts.append(f"{state} in {count.total():,}{of}" + (f" ({kinds})" if kinds else ""))
        name = " ".join(filter(None, (key[0] if len(ops) > 1 else "", key[1] if len(dtypes) > 1 else "", key[2])))
        lines.append(f"{name}: {', '.join(parts)}")
    if short and (left := len(rows) - len(lines) - len(sound)):
        lines.append(f"{counted(left, 'result')} more with wrong or unjudged cases")
    if short and sound:
        lines.append(f"{counted(len(sound), 'result')} ok in all {'their' if len(sound) > 1 else 'its'} cases")
    return lines


def in_prose(report: Report) -> str:
    """The report in words, for readers who have no use for counts of verdicts: what is right, what is not, and by how
    much."""
    name, dtype = map(report.header.get, ("subject", "dtype"))
    if not report.elements and not report.findings:
        return in_sentences(replace(report, header={k: v for k, v in report.header.items() if k != "profile"}))
    total = report.elements + report.count(OUT_OF_SCOPE)
    lines = [f"{name} in {dtype} {'is right' if report.ok else 'is not right'}{few(report)}{waived(report)}."]
    for v in (*VERDICTS, OUT_OF_SCOPE):
        if n := report.count(v):
            lines.append(f"  {n:,} of {counted(total, 'number')} {_TOLD[v].format(dtype)}.")
    if told := support(report):
        lines.append(f"  Of its cases, {told}.")
    if report.mostly_undeclared:
        lines.append(f"  {undeclared(report)}.")
    lines += [f"  {line}." for line in by_result(report, verdicts=False)]
    for f in in_order(by_cause(report.unexpected))[:3]:
        if f.verdict == "error":
            lines.append(f"  {f}".replace("\n", "\n  "))
            continue
        at = f" at {', '.join(f'{n} = {v!r}' for n, v in f.inputs.items())}" if f.inputs else ""
        far = f": {f.digits_lost}" if f.digits_lost else ""
        lines.append(f"  {place(f)} is {f.got!r}{at}, and {f.expected!r} would be right{far}.")
        lines += [f"    To see it alone: {f.replay}"] if f.replay else []
    return "\n".join(lines)


# What a verdict says of numbers, in the words of `in_prose`; {} is the format.
_TOLD = {
    "exact": "are the nearest numbers that {} has",
    "ok": "are as near as roundings let a right computation come",
    "convention": "stand at a kink or a tie, where more than one answer is right",
    "suspect": "are further off than roundings bring a right computation",
    "explained": "lose digits, as another known formula does",
    "violation": "are wrong: no known formula is so far off",
    "special": "are wrong about NaN, infinity or the sign of zero",
    "error": "are results that never came, or that cannot be used",
    OUT_OF_SCOPE: "may overflow on the way, so that nothing is said about them",
}


# --- what is not supported -------------------------------------------------------------------------------------------


def support(report: Report) -> str:
    """How many cases were checked of how many, and what the others are; empty if all are supported."""
    if not (found := report.unsupported):
        return ""
    run = report.required - len(report.skips)
    # Of the fixtures the share stands beside it.
    of = "" if "required" in report.header else f"{run:,} of {counted(report.required, 'case')}, {len(report.skips):,} "
    shown = [f"{group} ({n:,})" for group, n in list(found.items())[:GROUPS]]
    more = f", and {counted(len(found) - GROUPS, 'group')} more" if len(found) > GROUPS else ""
    return f"{of}not supported: {', '.join(shown)}{more}"


def few(report: Report) -> str:
    """What the first line says of an implementation that supports less than half of the ordinary cases."""
    met, asked = report.header.get("ordinary", (0, 0))
    joined = ", but" if report.ok else " and"
    return f"{joined} supports only {met:,} of {counted(asked, 'ordinary case')}" if 2 * met < asked else ""


def undeclared(report: Report) -> str:
    """What to do where most of the cases are not supported and nothing said so before."""
    return (
        f"{len(report.undeclared):,} of {counted(report.required, 'case')} are not supported, which was not declared: "
        "say so with supports= or --without, or choose cases with where="
    )


def apart(report: Report) -> str:
    """The line of the verdict for what stands apart under the profile."""
    part = report.part(apart=True)
    wrong = part.unexpected or part.unlisted
    if not part.elements and not part.findings:
        return "special values: none was checked"
    return (
        f"special values, which do not decide here: {'do not conform' if wrong else 'conform'}: "
        f"{counted(part.elements, 'element')} in {counted(part.cases, 'case')} ({counts(part)})"
    )


def counts(report: Report) -> str:
    """How many elements there are of each verdict."""
    return ", ".join(f"{n} {v}" for v in (*VERDICTS, OUT_OF_SCOPE) if (n := report.count(v)))


def by_cause(findings: Iterable[Finding]) -> list[Finding]:
    """The findings, in which errors of one cause are one: the first of them, with the number of its cases. One cause
    is one message, its numbers aside."""
    kept: dict[Any, Finding] = {}
    cases: dict[Any, set[str]] = {}
    for i, f in enumerate(findings):
        key = (f.op, f.dtype, _NUMBERS.sub("#", f.message.partition("\n")[0])) if f.verdict == "error" else i
        kept.setdefault(key, f)
        cases.setdefault(key, set()).add(f.case)
    return [f if f.verdict != "error" else replace(f, count=len(cases[key])) for key, f in kept.items()]


_NUMBERS = re.compile(r"-?\d[\d.]*(e[-+]?\d+)?(, ?-?\d[\d.]*(e[-+]?\d+)?)*,?")  # a shape is one of them


# --- the outcome -----------------------------------------------------------------------------------------------------


def subject(report: Report) -> str:
    """What was checked."""
    return str(report.header.get("subject") or "the implementation")


def headline(report: Report) -> str:
    """The outcome in one sentence, without its full stop."""
    name = subject(report)
    if not report.elements and not report.findings:
        found = nothing(report)
        found = found or support(report)
        why = f": {unfinished(report)}" if report.partial else f": {found}" if found else ", which is an error"
        return f"Nothing was checked of {name}{why}"
    if report.ok:
        return f"{name} conforms{few(report)}{waived(report)}"
    reasons = [
        counted(len(report.unexpected), "unexpected finding"),
        f"{counted(len(report.unlisted), 'case')} without a finding that says why",
        f"{counted(len(report.stale), 'expected finding')} no longer {'occurs' if len(report.stale) == 1 else 'occur'}",
        f"too much out of scope in {', '.join(report.out_of_scope)}" if report.out_of_scope else "",
        undeclared(report) if report.mostly_undeclared else "",
    ]
    found = "; ".join(r for r in reasons if r and not r.startswith("0 "))
    if not found and not report.partial:
        found = "nothing that decides was checked"
    if report.partial:
        return f"{name}: {unfinished(report)}; in what was run {found or 'nothing unexpected was found'}"
    return f"{name} does not conform{few(report)}{waived(report)}: {found}"


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
    known = {report.reason(f) for f in report.findings if f.verdict not in report.accept} - {None}
    taken += ", apart from expected findings" if known - {APART} else ""
    return taken + (", apart from special values" if APART in known else "")


def share(report: Report) -> str:
    """How many of the required cases pass, and beside it what is skipped and what fails as expected."""
    required = report.required
    failed = {f.case for f in report.findings if f.verdict not in report.accept}
    known = failed - {f.case for f in report.unexpected} - set(report.unlisted)
    parts = [f"{report.passed:,} of {required:,} required cases pass ({report.passed / max(required, 1):.1%})"]
    parts += [f"{len(known):,} expected to fail"] if known else []
    parts += [f"{len(report.skips):,} not supported"] if report.skips else []
    return ", ".join(parts)


def extent(report: Report) -> str:
    """How much was checked, under which model, and how close it comes to its allowance."""
    told = support(report)
    asked = f"{share(report)}; " if "required" in report.header else f"{told}; " if told else ""
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
    """About three digits, for a reader. What is 1 only when rounded has its zeros: 1.00.

    >>> number(0.9999999999999996), number(1.0), number(0.5), number(123456.0)
    ('1.00', '1', '0.5', '123,456')
    """
    if 1e3 <= abs(x) < 1e6:
        return f"{x:,.0f}"
    short = f"{x:.3g}"
    return "1.00" if short == "1" and x != 1 else short


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
