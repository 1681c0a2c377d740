"""benchmarks/hipdnn.py: the rule is the published one, and the committed page is what the command writes."""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from refnn.formats import FORMATS

pytest.importorskip("torch")
ROOT = Path(__file__).parents[1]


def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hipdnn", ROOT / "benchmarks" / "hipdnn.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where a dataclass looks for its annotations
    spec.loader.exec_module(module)
    return module


HIPDNN = _script()
EPS = 2.0**-23


@pytest.mark.parametrize(
    ("n", "eps", "expected"),
    [
        (0, EPS, 0.0),
        (1, EPS, 2 * EPS / (1 - 2 * EPS)),
        (5, 2.0**-10, 5 / 507),  # 10/1024 is just below the switch
        (6, 2.0**-10, 6 * math.sqrt(12) * 2.0**-10),
        (1, 2.0**-7, 6 * math.sqrt(2) * 2.0**-7),
        (1, 0.005, 6 * math.sqrt(2) * 0.005),  # on the switch
    ],
)
def test_gamma_is_the_published_one(n: int, eps: float, expected: float) -> None:
    """Values that the rule's own tests work out by hand; a rounding or two of float64 apart."""
    assert abs(HIPDNN.gamma(n, eps) - expected) <= 4 * np.spacing(expected)


def test_a_gamma_that_says_nothing_is_refused() -> None:
    with pytest.raises(OverflowError, match=r"gamma is 0\.663 for 100 terms, expected less than 0\.5"):
        HIPDNN.gamma(100, 2.0**-7)


def test_the_tolerance_takes_the_largest_factors_and_the_storage() -> None:
    a, b = np.array([1.0, -3.0]), np.array([0.5, 0.25])
    float32, half, double = (FORMATS[n] for n in ("float32", "float16", "float64"))
    gamma = HIPDNN.gamma(10, EPS)
    assert HIPDNN.tolerance(10, a, b, float32, float32) == gamma * 15.0
    assert HIPDNN.tolerance(10, a, b, double, float32) == gamma * 15.0
    assert HIPDNN.tolerance(10, a, b, half, float32) == (gamma + 2.0**-10) * 15.0


def test_terms_are_those_of_the_sums() -> None:
    """Of ones: no sum has more terms than are counted, and some sum in the middle has all of them."""
    layer = HIPDNN.Layer(2, 3, 6, 4, 3, 1)
    x, w, g = (np.ones_like(v) for v in HIPDNN.drawn(layer))
    y = HIPDNN.refnn.conv2d(x, w, None, padding=1)
    dx, dw, _ = HIPDNN.refnn.conv2d.vjp(g, x, w, None, padding=1)
    assert {"output": y.max(), "dx": dx.max(), "dw": dw.max()} == layer.terms


def test_the_committed_page_is_what_the_command_writes() -> None:
    """Of the smaller layer, but for the last column: PyTorch's error is that of a machine."""
    page = (ROOT / "benchmarks" / "HIPDNN.md").read_text()
    section = page.split(f"## {HIPDNN.LAYERS[0]}, float32")[1].split("\n## ")[0]
    shown = {c[0]: c[1:] for c in ([c.strip() for c in r.strip("|").split("|")] for r in section.split("\n"))}
    for what, *figures, _ in HIPDNN.rows(HIPDNN.LAYERS[0]):
        assert shown[what][:-1] == figures


def test_the_page_of_detection_power_quotes_it() -> None:
    text = " ".join((ROOT / "conformance" / "power" / "README.md").read_text().split())
    page = (ROOT / "benchmarks" / "HIPDNN.md").read_text()
    (row,) = [r.split("|") for r in page.split("\n## ")[1].split("\n") if r.startswith("| dw |")]
    _, theirs, worst, *_, passing, inside, _, _ = (c.strip() for c in row[2:-1])
    assert f"it is {theirs}, where refnn's largest worst case is {worst}: {passing} of that gradient" in text
    assert f"pass, {inside} under the worst case" in text


def test_the_page_shows_what_it_is_for() -> None:
    """hipDNN's number for dw is above a hundred times the worst case, lets a fifth of the elements be zero, and PyTorch
    is inside all three."""
    rows = {what: dict(zip(HIPDNN.HEAD[1:], figures, strict=True)) for what, *figures in HIPDNN.rows(HIPDNN.LAYERS[0])}
    dw = rows["dw"]
    assert float(dw["hipDNN / worst case"]) > 100
    assert float(dw["0 passes hipDNN"].strip("%")) > 20 > 1 > float(dw["0 inside worst case"].strip("%"))
    for row in rows.values():
        assert float(row["PyTorch is off by"]) < float(row["suspect from"]) < float(row["worst case"])
        assert float(row["worst case"]) < float(row["hipDNN"])
