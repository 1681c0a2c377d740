"""A report as JUnit XML: a suite for each op and dtype, a test for each case, and some for the report itself."""

from __future__ import annotations

import re
from collections import defaultdict
from xml.etree import ElementTree as ET

from refnn.ids import CaseId
from refnn.report import SCOPE_LIMIT, Finding, Report, Result, nan_largest, summary
from refnn.report.words import headline, place, share, size, subject, support, undeclared, unfinished

# What XML 1.0 cannot hold, not even escaped.
_ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render(report: Report) -> str:
    """The XML. A failure, or an error, stands in it exactly if the report is not ok."""
    root = ET.Element("testsuites", name=_clean(subject(report)))
    results: dict[tuple[str, str], dict[str, list[Result]]] = defaultdict(lambda: defaultdict(list))
    findings: dict[str, list[Finding]] = defaultdict(list)
    for r in report.results:
        results[r.op, r.dtype][r.case].append(r)
    for f in report.findings:
        results[f.op, f.dtype][f.case] += []  # a case may have come to no result at all
        if f.verdict not in report.accept:
            findings[f.case].append(f)
    for case in report.skips:
        skipped = CaseId.parse(case)
        results[skipped.op, skipped.dtype][case] += []
    unlisted = set(report.unlisted)
    worst: dict[tuple[str, str], float] = {}
    for row in summary(report):
        key = (row["op"], row["dtype"])
        worst[key] = max(worst.get(key, 0.0), row["worst_ratio"], key=nan_largest)
    for (op, dtype), cases in sorted(results.items()):
        suite = ET.SubElement(root, "testsuite", name=_clean(f"{op} {dtype}"))
        _properties(suite, worst_ratio=worst.get((op, dtype), 0.0))
        for case, parts in sorted(cases.items()):
            test = _test(suite, f"{op}.{dtype}", case, sum(r.seconds for r in parts))
            if parts:
                _properties(test, worst_ratio=max((r.worst_ratio for r in parts), key=nan_largest))
            found = [f for f in findings[case] if report.reason(f) is None]
            if findings[case] and not found:
                reasons = dict.fromkeys(filter(None, map(report.reason, findings[case])))
                _outcome(test, "skipped", "; ".join(reasons), _all(findings[case]))
            elif found:
                tag = "error" if all(f.verdict == "error" for f in found) else "failure"
                first = found[0]
                _outcome(test, tag, f"{first.verdict}: {place(first)}: {first.message or size(first)}", _all(found))
            elif case in report.skips:
                _outcome(test, "skipped", report.skips[case], "")
            elif case in unlisted:
                _outcome(test, "failure", "does not conform, though no finding says why", "")
    _whole(root, report)
    for suite in root:
        _count(suite)
    _count(root)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _whole(root: ET.Element, report: Report) -> None:
    """What no single case can say."""
    suite = ET.SubElement(root, "testsuite", name="report")
    said = {"verdict": headline(report), "share": share(report), "unsupported": support(report) or "nothing"}
    _properties(suite, **said, worst_ratio=report.worst_ratio, elements=report.elements, cases=report.cases)
    tests = {
        "something was checked": "" if report.elements else "nothing was checked",
        "the run was finished": unfinished(report) if report.partial else "",
        "expected findings still occur": "; ".join(f"no longer: {w} ({report.expected[w]})" for w in report.stale),
        f"at most {SCOPE_LIMIT:.0%} is out of scope": ", ".join(report.out_of_scope),
        "what most cases lack is declared": undeclared(report) if report.mostly_undeclared else "",
    }
    for name, problem in tests.items():
        test = _test(suite, "report", name, 0.0)
        if problem:
            _outcome(test, "failure", problem, "")


def _test(suite: ET.Element, group: str, name: str, seconds: float) -> ET.Element:
    return ET.SubElement(suite, "testcase", classname=_clean(group), name=_clean(name), time=f"{seconds:.6f}")


def _properties(parent: ET.Element, **values: float | str) -> None:
    properties = ET.SubElement(parent, "properties")
    for name, value in values.items():
        ET.SubElement(properties, "property", name=name, value=_clean(value) if isinstance(value, str) else repr(value))


def _outcome(test: ET.Element, tag: str, message: str, text: str) -> None:
    ET.SubElement(test, tag, message=_clean(message)).text = _clean(text)


def _all(findings: list[Finding]) -> str:
    return "\n".join(f"{f}\n{f.replay}".rstrip() for f in findings)


def _count(element: ET.Element) -> None:
    tests = list(element.iter("testcase"))
    element.set("tests", str(len(tests)))
    for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        element.set(attribute, str(sum(t.find(tag) is not None for t in tests)))
    element.set("time", f"{sum(float(t.get('time', 0)) for t in tests):.6f}")


def _clean(text: str) -> str:
    return _ILLEGAL.sub("?", text)
