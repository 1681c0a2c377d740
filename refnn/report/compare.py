"""What changed between two runs: cases that fail, pass, appear or vanish, and errors that grew or shrank."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from refnn.report import OUT_OF_SCOPE, Report
from refnn.report.words import headline, number, severity, share

SHOWN = 20  # lines of each kind
# What is said of a run and not of what was run.
_TOLD = frozenset(
    {"subject", "command", "notes", "required", "answered", "implementation", "program"}
    | {"supported", "unsupported", "ordinary", "covered"}
)

Key = tuple[str, str, str]


@dataclass
class Changes:
    """The differences; `worse` says that something conformed, or was checked, and now does not, or is not."""

    before: str = ""
    now: str = ""
    header: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    mended: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    larger: list[str] = field(default_factory=list)
    smaller: list[str] = field(default_factory=list)
    common: int = 0

    @property
    def worse(self) -> bool:
        return bool(self.broken or self.lost) or not self.common

    def __str__(self) -> str:
        kinds = (
            ("the headers differ, so compare with care", self.header),
            ("no longer conforms", self.broken),
            ("no longer checked", self.lost),
            ("conforms now", self.mended),
            ("another verdict", self.other),
            ("newly checked", self.new),
            ("larger error", self.larger),
            ("smaller error", self.smaller),
        )
        lines = [f"before: {self.before}", f"now: {self.now}"]
        lines.append(f"{self.common:,} results in common" + ("" if self.common else ": nothing can be compared"))
        for title, rows in kinds:
            if rows:
                lines.append(f"{title} ({len(rows):,}):")
                lines += [f"  {row}" for row in rows[:SHOWN]]
                lines += [f"  and {len(rows) - SHOWN:,} more"] if len(rows) > SHOWN else []
        if len(lines) == 3 and self.common:
            lines.append("nothing changed")
        return "\n".join(lines)


def compare(before: Report, after: Report) -> Changes:
    """What changed from one report to another. Errors count as changed where they grew or shrank more than twofold."""
    found = Changes(before=f"{headline(before)}; {share(before)}", now=f"{headline(after)}; {share(after)}")
    for name in sorted({*before.header, *after.header} - _TOLD):
        a, b = before.header.get(name), after.header.get(name)
        if a != b:
            found.header.append(f"{name}: {_short(a)} before, {_short(b)} now")
    old, new = _worst(before), _worst(after)
    found.common = len(old.keys() & new.keys())
    found.lost += [_named(k) for k in sorted(old.keys() - new.keys())]
    found.new += [f"{_named(k)}: {new[k][0]}" for k in sorted(new.keys() - old.keys())]
    groups = [g for g in before.header.get("supported", ()) if g not in after.header.get("supported", ())]
    found.lost += [f"{g}: supported before, not now" for g in groups if "supported" in after.header]
    found.lost += [
        f"{case}: not supported: {why}" for case, why in sorted(after.skips.items()) if case not in before.skips
    ]
    accept = before.accept & after.accept | {OUT_OF_SCOPE}
    for key in sorted(old.keys() & new.keys()):
        (was, ratio), (is_, now) = old[key], new[key]
        row = f"{_named(key)}: {was}, now {is_}"
        if math.isnan(now) and not math.isnan(ratio):
            found.broken.append(f"{_named(key)}: {number(ratio)} of the allowance, now NaN")
        elif was != is_:
            if was in accept and is_ not in accept:
                found.broken.append(row)
            elif is_ in accept and was not in accept:
                found.mended.append(row)
            else:
                found.other.append(row)
        elif now != ratio and not (ratio / 2 <= now <= 2 * ratio):
            rows = found.smaller if now < ratio else found.larger
            rows.append(f"{_named(key)}: {number(ratio)} of the allowance, now {number(now)}")
    return found


def _worst(report: Report) -> Mapping[Key, tuple[str, float]]:
    """The worst verdict of each result, and its largest error."""
    found: dict[Key, tuple[str, float]] = {}
    for r in report.results:
        verdict = max((v for v, n in r.verdicts.items() if n), key=severity, default=OUT_OF_SCOPE)
        before = found.get((r.case, r.dtype, r.what), (verdict, r.worst_ratio))
        found[r.case, r.dtype, r.what] = max(before, (verdict, r.worst_ratio), key=lambda p: severity(p[0]))
    return found


def _named(key: Key) -> str:
    case, dtype, what = key
    return f"{what} of {case}" + ("" if f"/{dtype}/" in case else f" in {dtype}")


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
