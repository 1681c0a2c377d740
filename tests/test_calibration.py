"""The calibration of the expected error, its page, and the probabilistic bound."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import refnn
from refnn.arithmetic.sequential import Sequential
from refnn.oracle.allowance import deviations
from refnn.study.calibration import (
    BINS,
    DATA,
    ELEMENTS,
    FAMILIES,
    HEAD,
    IMPLEMENTATIONS,
    LAYERS,
    PROBABILITY,
    QUANTILES,
    SQUARES,
    SUM,
    Row,
    defined,
    draw,
    main,
    measure,
    measure_layer,
    noise_of,
    page,
)

PAGE = Path(__file__).parent.parent / "conformance" / "calibration.md"


def _rows(text: str, first: str) -> list[dict[str, str]]:
    """The table of the page whose first column has that name."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {first} |"))
    head = [cell.strip() for cell in lines[start].strip("|").split("|")]
    body = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        body.append(dict(zip(head, (cell.strip() for cell in line.strip("|").split("|")), strict=True)))
    return body


def _figures(text: str) -> list[int]:
    """The whole numbers of the page's summary: what its rows add up to."""
    said = text[text.index("False alarms: ") : text.index("## By family")].replace(f"{PROBABILITY:g}", "")
    return [int(word.strip(".:;,")) for word in said.split() if word.strip(".:;,").isdigit()]


def test_the_page_says_what_its_rows_add_up_to() -> None:
    """No share is typed: false alarms, data sets that are left to themselves, and the elements of each family."""
    text = PAGE.read_text(encoding="utf-8")
    rows = _rows(text, "family")
    assert [*rows[0]] == [*HEAD]
    alarms, judged, sets, off, all_, beyond, left, exceeded = _figures(text)
    assert alarms == sum(int(r["alarms"]) for r in rows) == 0
    assert (off, all_) == (sum(int(r["off"]) for r in rows), sum(int(r["sets"]) for r in rows))
    assert (sets, beyond) == (all_ - off, sum(int(r["beyond where off"]) for r in rows))
    assert judged + left == sum(int(r["elements"]) for r in rows)
    assert exceeded <= PROBABILITY * judged
    for family in FAMILIES:
        mine = [r for r in rows if (r["family"], r["dtype"]) == (family, "float32")]
        assert {(r["data"], r["library"]) for r in mine} == {(d, k) for d in DATA for k in IMPLEMENTATIONS}
        assert sum(int(r["elements"]) for r in mine) >= ELEMENTS
        assert any((r["family"], r["dtype"]) == (family, "float64") for r in rows)
    for r in rows:
        quantiles = [float(r[f"{100 * q:g} %"]) for q in QUANTILES]
        assert quantiles == sorted(quantiles)
        assert quantiles[-1] <= float(r["max"]) * 2 ** (1 / BINS) * 1.05  # two digits are shown
        assert (r["used"] == "") == (r["off"] == r["sets"])


def test_a_tenth_of_the_probabilistic_bound_is_used_by_layers_of_real_sizes() -> None:
    """By PyTorch's own kernels and by sums from left to right: at the probability for an element by all results, at
    that for all elements by the outputs and the gradients of the weights."""
    rows = _rows(PAGE.read_text(encoding="utf-8"), "layer")
    assert {r["layer"] for r in rows} == {name for name, *_ in LAYERS}
    for r in rows:
        each, for_all = (float(r[f"{PROBABILITY:g} {w}"]) for w in ("an element", "for all"))
        assert float(r["worst case"]) <= 1
        assert for_all <= each <= 1
        if r["layer"].startswith(("conv2d", "linear")) and r["library"] in ("PyTorch", "sequential"):
            assert each >= 0.1, r
            assert for_all >= 0.1 or r["result"] not in ("output", "grad[weight]"), r


@pytest.fixture
def few_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    sums = FAMILIES["sums and losses"]
    few = [(op, ((shape[0] // 10, shape[1]),), params, f) for op, (shape, *_), params, f in (sums[0], sums[1])]  # type: ignore[index]
    monkeypatch.setitem(FAMILIES, "sums and losses", few)  # type: ignore[arg-type]


@pytest.mark.usefixtures("few_sums")
def test_a_small_run_writes_the_page() -> None:
    """The command on a small budget, of one family: what it writes adds up."""
    rows = measure("sums and losses", 1)
    assert {(r.data, r.library) for r in rows} == {(d, k) for d in DATA for k in IMPLEMENTATIONS}
    assert not sum(r.alarms for r in rows)
    assert 0 < sum(r.off for r in rows) < sum(r.sets for r in rows) // 2
    assert all(r.off == r.sets or 0.05 < r.used < 1 for r in rows if r.data == "normal")
    # Sums from left to right err as expected: half of the errors within two thirds of a deviation, as normal ones.
    chain = next(r for r in rows if (r.data, r.library) == ("normal", "sequential"))
    assert 0.3 < chain.quantile(0.5) < 0.7
    assert 1.3 < chain.quantile(0.99) < 2.6
    text = page(rows, [], {"refnn": "this"})
    alarms, judged, sets, off, all_, beyond, left, exceeded = _figures(text)
    assert (alarms, sets, off) == (0, all_ - off, sum(r.off for r in rows))
    assert judged + left == sum(r.elements for r in rows)
    assert (beyond, exceeded) == (sum(r.beyond for r in rows), sum(r.exceeded for r in rows))
    assert _rows(text, "family")[0]["library"] == rows[0].library


@pytest.mark.usefixtures("few_sums")
def test_float64_is_measured_against_a_longer_format() -> None:
    if np.finfo(np.longdouble).nmant < 63:
        pytest.skip("long double is no longer than float64 here")
    (row,) = (r for r in measure("sums and losses", 1, "float64", ("sequential",)) if r.data == "normal")
    assert 0.3 < row.quantile(0.5) < 0.7
    assert not row.alarms


def test_an_expected_error_that_is_too_small_shows_as_alarms_and_beyond_the_bound() -> None:
    data = draw(SUM, ((20_000, 100),), {}, "normal", "float32", 0, None)
    got, truth = defined(Sequential)(data), defined(Sequential, np.float64)(data)
    noise = noise_of(data, "generic")
    for factor, some in ((1.0, False), (0.25, True)):
        row = Row("sums", "normal", "sequential", "float32")
        row.add(data, True, got, truth, [(factor * noise[0][0], noise[0][1]), None], [None, None])
        assert (row.alarms > 0, row.exceeded > PROBABILITY * row.elements, row.used > 1) == (some, some, some)
        unjudged = replace(row, alarms=0, beyond=0, exceeded=0, counts={})
        unjudged.add(data, False, got, truth, [(factor * noise[0][0], noise[0][1]), None], [None, None])
        assert (unjudged.alarms, unjudged.exceeded, unjudged.beyond > 0) == (0, 0, some)
        assert row.quantile(1.0) >= row.largest > row.quantile(0.5)


# --- the probabilistic bound -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("probability", [0.5, 0.1, 1e-2, 1e-4])
@pytest.mark.parametrize("library", IMPLEMENTATIONS)
@pytest.mark.parametrize("op", [SUM, SQUARES], ids=["sums", "squares"])
def test_the_bound_is_exceeded_with_no_more_than_its_probability(op: object, library: str, probability: float) -> None:
    """By sums of 200 terms in every order that an implementation here has, out of 5000; and never by much less than
    it could be: from left to right, a fifth of it is used."""
    in_torch = next(t for o, _, _, t in FAMILIES["sums and losses"] if o is op)
    data = draw(op, ((5000, 200),), {}, "normal", "float32", 3, in_torch)  # type: ignore[arg-type]
    bound = refnn.allowance(op, *data.inputs, model="float32").output  # type: ignore[arg-type]
    row, implementation = IMPLEMENTATIONS[library]
    exact = defined(Sequential, np.float64)(data)[0]
    error = np.abs(implementation(data)[0].astype(np.float64) - exact)
    allowed = bound.probable(probability)
    assert np.count_nonzero(error > allowed) <= probability * error.size
    assert (allowed <= bound.worst).all()
    assert library != "sequential" or (error / allowed).max() > 0.2
    assert row in ("generic", "torch-cpu")


@pytest.mark.parametrize("probability", [0.1, 0.02, 1e-3])
def test_the_bound_holds_where_roundings_are_as_large_as_they_can_be(probability: float) -> None:
    """Roundings that are half an ulp, up or down by the toss of a coin, are no less uniform than Azuma and Hoeffding
    allow: their deviation is sqrt(3) of that of uniform ones."""
    signs = np.random.default_rng(0).choice([-1.0, 1.0], size=(100_000, 40))
    weights = np.random.default_rng(1).uniform(0.5, 2, 40)
    error, std = np.abs(signs @ weights), math.sqrt(float(weights @ weights) / 3)
    beyond = np.count_nonzero(error > deviations(probability) * std)
    assert beyond <= probability * len(error)
    assert np.count_nonzero(error > deviations(probability) * std / math.sqrt(3)) > probability * len(error)


def test_the_bound_is_no_more_than_the_worst_case_and_grows_as_its_probability_falls() -> None:
    x = np.random.default_rng(0).normal(size=(3, 500)).astype(np.float32)
    bound = refnn.allowance("softmax", x, cotangent=x, model="float32", axis=-1).grads[0]
    assert bound is not None
    found = [bound.probable(p) for p in (0.5, 1e-3, 1e-9)]
    assert (found[0] < found[1]).all()
    assert (found[1] < found[2]).all()
    assert (found[2] <= bound.worst).all()
    assert (found[0] > bound.library).all()
    assert (bound.probable(1e-300) <= bound.worst).all()
    unknown = refnn.allowance("softmax", np.array([[np.float32(3e38), np.float32(-3e38)]]), model="float32", axis=-1)
    assert np.array_equal(np.isnan(unknown.output.probable(0.1)), np.isnan(unknown.output.worst))
    for wrong in (0, 1, -0.5, math.nan):
        with pytest.raises(ValueError, match=f"the probability is {wrong}"):
            bound.probable(wrong)


def test_a_layer_of_a_real_size_uses_a_tenth_of_the_bound() -> None:
    """A convolution of 64 channels on a quarter of an image of 56x56, whose error is a hundredth of the worst case."""
    name, op, _, params, in_torch = LAYERS[1]
    rows = measure_layer(name, op, ((1, 64, 28, 28), (64, 64, 3, 3), (64,)), params, in_torch)
    for r in rows:
        assert not r.alarms
        assert r.exceeded <= PROBABILITY * r.elements
        if r.data == "output" and r.library in ("PyTorch", "sequential"):
            assert r.used_by_all > 0.1
            assert r.of_worst < 0.05


def test_the_command_takes_a_budget_and_a_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[tuple[str, int, str]] = []

    def small(family: str, elements: int, dtype: str = "float32", libraries: object = ()) -> list[Row]:
        called.append((family, elements, dtype))
        return [Row(family, "normal", "NumPy", dtype, elements=1, judged=1, sets=1, counts={0: 1}, largest=1.0)]

    monkeypatch.setattr("refnn.study.calibration.measure", small)
    monkeypatch.setattr("refnn.study.calibration.LAYERS", ())
    main(["--out", str(tmp_path / "page.md"), "--elements", "50"])
    assert [c for c in called if c[2] == "float32"] == [(f, 50, "float32") for f in FAMILIES]
    assert "False alarms: 0 in" in (tmp_path / "page.md").read_text(encoding="utf-8")
