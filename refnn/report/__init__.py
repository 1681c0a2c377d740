"""Reports: what was checked, how far off it is, and why that is right or wrong.

A `Report` is data: a header, one `Result` for each output and gradient of each case, and a `Finding` for each element
worth a look. JSON Lines is its written form; HTML, Markdown and JUnit are functions of it.
"""

from __future__ import annotations

import functools
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from refnn.refusals import hint, several
from refnn.report.profiles import Profile, profile

# From best to worst. Elements out of scope are counted apart: nothing is claimed about them.
VERDICTS = ("exact", "ok", "convention", "suspect", "explained", "violation", "special", "error")
OUT_OF_SCOPE = "out_of_scope"
CONFORMING = frozenset({"exact", "ok", "convention"})
SCOPE_LIMIT = 0.1  # the share of an op's elements that may be out of scope
SOMETIMES = "on some processors: "  # begins the reason of an expected finding that need not occur on this one
APART = "special values, which stand apart in this profile"  # the reason of a finding that does not decide
OUTPUTS = "outputs alone"  # what a header says where no gradients were asked for
FORMAT_VERSION = 1

MEANING: Mapping[str, str] = {
    "exact": "certified to be correctly rounded (either zero for zero)",
    "ok": "inside the expected error, or inside the worst case where no expected one applies",
    "convention": "at a kink or a tie, and inside the interval of generalised gradients",
    "suspect": "inside the worst case, outside the expected error",
    "explained": "outside the bound of the accurate algorithm, inside that of another declared algorithm",
    "violation": "outside the worst case of every declared algorithm under the declared model",
    "special": "NaN, infinity or the sign of a zero where the definition has another, or the other way round",
    "error": "raised, wrong shape or dtype, input modified, not reproducible, or undecided",
    OUT_OF_SCOPE: "a partial result may overflow, or overflows and becomes finite again: nothing is claimed",
}


def accepting(given: str | Iterable[str]) -> frozenset[str]:
    """The verdicts that conform where those given are accepted, too: one, or several. ValueError names an unknown one.

    >>> sorted(accepting("explained") - CONFORMING)
    ['explained']
    """
    for name in several(given):
        if name not in VERDICTS:
            raise ValueError(f"accept has {name!r}, expected some of {', '.join(VERDICTS)}{hint(name, VERDICTS)}")
    return CONFORMING | frozenset(several(given))


@dataclass(frozen=True)
class Finding:
    """One element (the worst of `count` alike), or one call (of `count` cases alike), that a reader should look at.

    `expected` and `allowed` are float64. `error` is |got - expected|, `ratio` is error/allowed, and `ulps` is the error
    in units of the last place of the expected value. `name` is the convention or the algorithm. `replay` is a line of
    Python that shows the finding again.
    """

    case: str
    op: str
    dtype: str
    family: str
    what: str
    verdict: str
    index: tuple[int, ...] = ()
    got: float = math.nan
    expected: float = math.nan
    allowed: float = math.nan
    error: float = math.nan
    ratio: float = math.nan
    ulps: float = math.nan
    name: str = ""
    message: str = ""
    equation: str = ""
    inputs: Mapping[str, float] = field(default_factory=dict)
    replay: str = ""
    count: int = 1

    def __str__(self) -> str:
        where = f"{self.what}{list(self.index) if self.index else ''} of {self.case}"
        if self.verdict == "error":
            return f"error{f' in {self.count:,} cases' if self.count > 1 else ''}: {where}: {self.message}"
        from refnn.report.words import size

        at = ", ".join(f"{n}={v!r}" for n, v in self.inputs.items())
        name = f" [{self.name}]" if self.name else ""
        far = f" ({far})" if math.isfinite(self.error) and (far := size(self)) else ""
        alike = f", {self.count} elements alike" if self.count > 1 else ""
        lines = [
            f"{self.verdict}{name}: {where}{alike}",
            f"  got      {self.got!r}",
            f"  expected {self.expected!r}",
            f"  allowed  +/- {self.allowed:.3g}{far}",
            f"  at       {at}" if at else "",
            f"  equation {self.equation}" if self.equation else "",
            f"  {self.message}" if self.message else "",
        ]
        return "\n".join(filter(None, lines))

    @property
    def key(self) -> str:
        """Its name in a list of expected findings: case, result, verdict and name."""
        return " ".join(filter(None, (self.case, self.what, self.verdict, self.name)))

    @property
    def digits_lost(self) -> str:
        """How many decimal digits of the format are wrong, in words; empty if fewer than one."""
        if not math.isfinite(self.ulps) or self.ulps < 5:
            return ""
        if self.error >= abs(self.expected):
            return "all digits lost"
        return f"{math.log10(2 * self.ulps):.1f} digits lost"


@dataclass(frozen=True)
class Result:
    """The outcome for one output or gradient of one case: its elements by verdict, and how error/allowance is
    distributed.

    `histogram` counts elements by floor(log2 ratio), without those that have no error. `scope` says why elements are
    out of scope, and how many for each reason.
    """

    case: str
    op: str
    dtype: str
    family: str
    what: str
    verdicts: Mapping[str, int]
    worst_ratio: float = 0.0
    histogram: Mapping[int, int] = field(default_factory=dict)
    seconds: float = 0.0
    scope: Mapping[str, int] = field(default_factory=dict)

    @property
    def elements(self) -> int:
        """Elements that were judged."""
        return sum(n for v, n in self.verdicts.items() if v != OUT_OF_SCOPE)


@dataclass
class Report:
    """The outcome of a check, or of several.

    A case id or a `key` names an expected finding, with `*` for any text: `tanh/* grad[x] explained textbook`. If its
    reason begins with SOMETIMES, it need not occur. `skips` says why the implementation does not support a case or a
    part of it, and `undeclared` names those of them that it told of only when it was called. If the header has
    `required`, that many cases were asked for, and percentages are of them. If it has `profile`, the input families
    that stand apart in it do not decide whether the report is ok. If it has `traces`, the objectives of training by
    name, the page plots them.
    """

    header: dict[str, Any]
    results: list[Result] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    accept: frozenset[str] = CONFORMING
    expected: dict[str, str] = field(default_factory=dict)  # what is expected (see `reason`) -> why
    partial: bool = False
    skips: dict[str, str] = field(default_factory=dict)  # case -> why it is not supported, or not all of it
    undeclared: set[str] = field(default_factory=set)

    # --- what it says ------------------------------------------------------------------------------------------------

    @property
    def cases(self) -> int:
        return len({r.case for r in self.results})

    @property
    def elements(self) -> int:
        return sum(r.elements for r in self.results)

    @property
    def required(self) -> int:
        """Cases that were asked for."""
        asked = {r.case for r in self.results} | {f.case for f in self.findings} | self.skips.keys()
        return int(self.header.get("required", len(asked)))

    @property
    def unsupported(self) -> dict[str, int]:
        """What the implementation does not support, as groups of cases in plain words, and how many cases of each."""
        return dict(Counter(self.skips.values()).most_common())

    @property
    def mostly_undeclared(self) -> bool:
        """Whether most of the cases are not supported, and the implementation told so only when it was called."""
        return 2 * len(self.undeclared) > self.required

    @property
    def profile(self) -> Profile:
        return profile(self.header.get("profile", "framework"))

    def part(self, *, apart: bool) -> Report:
        """The part that stands apart under the profile, or the rest, which decides; without what is not supported."""
        families = self.profile.apart
        return Report(
            {k: v for k, v in self.header.items() if k not in ("profile", "required")},
            [r for r in self.results if (r.family in families) == apart],
            [f for f in self.findings if (f.family in families) == apart],
            self.accept,
            self.expected,
        )

    @property
    def passed(self) -> int:
        """Cases of which all was checked and conforms. What is skipped or fails as expected is not among them."""
        sound = self.accept | {OUT_OF_SCOPE}
        bad = {
            r.case
            for r in self.results
            if math.isnan(r.worst_ratio) or any(n and v not in sound for v, n in r.verdicts.items())
        }
        bad |= {f.case for f in self.findings if f.verdict not in self.accept} | self.skips.keys()
        return len({r.case for r in self.results} - bad)

    @property
    def worst_ratio(self) -> float:
        """The largest error/allowance among the elements that conform, by the algorithm that accepted each of them."""
        return max((r.worst_ratio for r in self.results), key=nan_largest, default=0.0)

    def count(self, verdict: str) -> int:
        return sum(r.verdicts.get(verdict, 0) for r in self.results)

    @property
    def verdict(self) -> str:
        """The worst verdict reached; "error" where nothing was checked."""
        if not self.elements:
            return "error"
        return next(v for v in reversed(VERDICTS) if self.count(v))

    def reason(self, finding: Finding) -> str | None:
        """Why a finding is expected, or does not decide; None where neither holds."""
        known = next((why for what, why in self.expected.items() if _names(what, finding)), None)
        return APART if known is None and finding.family in self.profile.apart else known

    @property
    def unexpected(self) -> list[Finding]:
        """Findings that neither conform nor are expected."""
        return [f for f in self.findings if f.verdict not in self.accept and self.reason(f) is None]

    @property
    def stale(self) -> list[str]:
        """Expected findings whose case was checked and showed none, not even one that is accepted."""
        ran = {r.case for r in self.results}
        failed = [f for f in self.findings if f.verdict not in CONFORMING]
        return sorted(
            what
            for what, why in self.expected.items()
            if not why.startswith(SOMETIMES)
            and any(_matches(what.split(" ")[0], case) for case in ran)
            and not any(_names(what, f) for f in failed)
        )

    @property
    def out_of_scope(self) -> list[str]:
        """Ops of which more than a tenth of the elements is out of scope, each with its share.

        A network whose layers are judged one by one may be so end to end: in 16 bits its worst case soon has no bound.
        """
        total: dict[str, int] = {}
        lost: dict[str, int] = {}
        for r in self.results:
            if r.family in self.profile.apart:
                continue
            n = r.verdicts.get(OUT_OF_SCOPE, 0)
            total[r.op] = total.get(r.op, 0) + r.elements + n
            lost[r.op] = lost.get(r.op, 0) + n
        layered = {op.replace(" stepwise", " end to end") for op in total if op.endswith(" stepwise")}
        beyond = [op for op in sorted(total) if lost[op] > SCOPE_LIMIT * total[op] and op not in layered]
        return [f"{op} ({lost[op] / total[op]:.0%})" for op in beyond]

    @property
    def unlisted(self) -> list[str]:
        """Cases with elements that do not conform, or a ratio that is NaN, though no finding says so."""
        listed = {f.case for f in self.findings if f.verdict not in self.accept} | set(self.expected)
        sound = self.accept | {OUT_OF_SCOPE}
        bad = {
            r.case
            for r in self.results
            if math.isnan(r.worst_ratio) or any(n and v not in sound for v, n in r.verdicts.items())
        }
        return sorted(bad - listed)

    @property
    def ok(self) -> bool:
        """Something was checked to the end, and all of it conforms, is expected, or is out of scope."""
        finished = self.part(apart=False).elements > 0 and not self.partial
        wrong = self.unexpected or self.unlisted or self.stale or self.out_of_scope or self.mostly_undeclared
        return finished and not wrong

    def __add__(self, other: Report) -> Report:
        """Both reports in one; the header is the first one's."""
        return Report(
            self.header,
            [*self.results, *other.results],
            [*self.findings, *other.findings],
            self.accept | other.accept,
            {**self.expected, **other.expected},
            self.partial or other.partial,
            {**self.skips, **other.skips},
            self.undeclared | other.undeclared,
        )

    def __str__(self) -> str:
        from refnn.report.words import in_prose, in_sentences

        return in_prose(self) if self.profile.words else in_sentences(self)

    # --- its written forms -------------------------------------------------------------------------------------------

    def to_json(self) -> str:
        """JSON Lines: header, results, findings, footer."""
        from refnn.report.lines import dumps

        return dumps(self)

    def to_markdown(self) -> str:
        from refnn.report.markdown import render

        return render(self)

    def to_findings(self) -> str:
        """The page about the implementation: what is exact, what is ok, what explains the rest, and what does not."""
        from refnn.report.findings import render

        return render(self)

    def to_html(self) -> str:
        """One self-contained page. NotInstalled where there is no jinja2."""
        from refnn.report.html import render

        return render(self)

    def to_junit(self) -> str:
        from refnn.report.junit import render

        return render(self)


def _matches(pattern: str, text: str) -> bool:
    return pattern == text or ("*" in pattern and _compiled(pattern).fullmatch(text) is not None)


@functools.cache  # every finding of a report is held against every pattern, several times
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, pattern.split("*"))))


def _names(pattern: str, finding: Finding) -> bool:
    return _matches(pattern, finding.key if " " in pattern else finding.case)


def summary(report: Report) -> list[dict[str, Any]]:
    """One row for each op, dtype and kind of result ("output" or "gradient"): counts by verdict and the worst ratio."""
    rows: dict[tuple[str, str, str], dict[str, Any]] = {}
    for r in report.results:
        key = (r.op, r.dtype, kind(r.what))
        row = rows.setdefault(
            key,
            {"op": r.op, "dtype": r.dtype, "kind": key[2], "elements": 0, "verdicts": {}, "worst_ratio": 0.0}
            | {"histogram": {}, "seconds": 0.0},
        )
        row["elements"] += r.elements
        row["seconds"] += r.seconds
        row["worst_ratio"] = max(row["worst_ratio"], r.worst_ratio, key=nan_largest)
        for v, n in r.verdicts.items():
            row["verdicts"][v] = row["verdicts"].get(v, 0) + n
        for b, n in r.histogram.items():
            row["histogram"][b] = row["histogram"].get(b, 0) + n
    return [rows[k] for k in sorted(rows)]


def kind(what: str) -> str:
    """Whether a result is a gradient, as tangents and second derivatives are, or an output, which a whole answer counts
    as, too."""
    return "gradient" if what.startswith(("grad", "jvp", "double")) else "output"


def nan_largest(ratio: float) -> tuple[bool, float]:
    """The order of ratios in which NaN is the largest: `max` alone drops it or not, as it happens to stand."""
    return math.isnan(ratio), ratio


def as_dict(item: Result | Finding) -> dict[str, Any]:
    return asdict(item)


def join(reports: Iterable[Report], header: dict[str, Any]) -> Report:
    """Several reports as one, under a header of its own."""
    total = Report(header)
    for r in reports:
        total = total + r
    return total
