"""A badge: the JSON that shields.io makes one of (https://shields.io/badges/endpoint-badge)."""

from __future__ import annotations

import json

from refnn.report import CONFORMING, Report


def render(report: Report) -> str:
    """How many of the required cases pass, with what is skipped, expected or accepted beside it."""
    failed = {f.case for f in report.findings if f.verdict not in report.accept}
    unexpected = {f.case for f in report.unexpected} | set(report.unlisted)
    counts = {"failed": unexpected, "expected": failed - unexpected, "not supported": report.skips}
    beside = [
        *(f"{len(cases):,} {what}" for what, cases in counts.items() if cases),
        *(f"{v} accepted" for v in sorted(report.accept - CONFORMING)),
        *(["partial"] if report.partial else []),
    ]
    message = ", ".join([f"{report.passed:,} of {report.required:,}", *beside])
    if not report.elements:
        message, color = "nothing was checked", "lightgrey"
    else:
        color = "red" if not report.ok else "brightgreen" if report.passed == report.required else "yellow"
    return json.dumps({"schemaVersion": 1, "label": "refnn", "message": message, "color": color}) + "\n"
