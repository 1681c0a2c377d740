"""What a finding means, and what to try: the last lines of what is said of it."""

from __future__ import annotations

import math

from refnn.formats import FORMATS
from refnn.report import MEANING, Finding, Report


def why(f: Finding) -> str:
    """Why a finding is one, in words. An error says it by its message."""
    if f.verdict == "explained":
        return f"outside the bound of the accurate algorithm, inside that of another: {f.name}"
    return "" if f.verdict == "error" else MEANING[f.verdict]


def remedy(f: Finding, report: Report) -> str:
    """What to try after a finding; empty where nothing is known that helps more than its own words."""
    if f.verdict == "explained":
        return f"compute it without what {f.name!r} loses, or accept that: accept='explained' (--accept explained)"
    if f.verdict == "suspect":
        return "another seed= (--seed 1): what is suspect again is no accident"
    if f.verdict == "error":
        if ("keyword argument" in f.message or "'dim'" in f.message) and "framework=" not in str(
            report.header.get("implementation")
        ):
            return "framework='torch' (--framework torch) if the function takes tensors, or where= (--where)"
        return ""
    names = str(report.header.get("model", "")).split(", ")  # of a run in several formats one for each
    model = next((name for name in names if name.startswith(f.dtype)), names[0])
    if _flushed(f) and model and "-ftz" not in model:
        base, at, row = model.partition("@")
        return f"model='{base}-ftz{at}{row}' (--model), if the implementation flushes subnormal numbers to zero"
    if f.verdict == "special":
        return "profile='kernel' (--profile kernel), if special values shall not decide"
    if f.verdict == "violation" and f.dtype in ("float16", "bfloat16") and model.partition("@")[0] == f.dtype:
        return f"model='{f.dtype}-saved' (--model), if several kernels compute it and store what they pass on"
    return "the replay line shows it alone; refnn.explain (refnn explain) says which model fits a result, if any does"


def _flushed(f: Finding) -> bool:
    """Whether a zero was got for a number that is subnormal in the format."""
    return f.got == 0 and math.isfinite(f.expected) and 0 < abs(f.expected) < FORMATS[f.dtype].smallest_normal
