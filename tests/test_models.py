"""Arithmetic models: names, rows, and what they say of themselves."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from refnn.arithmetic.balls import Balls
from refnn.arithmetic.functions import FUNCTIONS
from refnn.models import MODELS, ULPS, VERSION, Model, default_model, model, multiplies_bfloat16

NAMES = [f"{n}{f}{r}" for n in MODELS for f in ("", "-ftz") for r in ("", *(f"@{row}" for row in ULPS))]


@pytest.mark.parametrize("name", NAMES)
def test_every_name_gives_its_model(name: str) -> None:
    m = model(name)
    assert m.name == name
    assert m.flush == ("-ftz" in name)
    assert m.row == (name.partition("@")[2] or "generic")
    assert m.ulps is ULPS[m.row]
    assert model(m) is m


@pytest.mark.parametrize("name", ["float8", "float32-FTZ", "float32@nvidia", "", "@generic", "float32-ftz-ftz"])
def test_an_unknown_name_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(ValueError, match=r"is not one of (float32, float64|generic, glibc)"):
        model(name)


def test_what_each_model_computes_in() -> None:
    table = {n: (m.storage.name, m.compute.name, m.accumulate.name, m.dot_input) for n, m in MODELS.items()}
    assert table == {
        "float32": ("float32", "float32", "float32", 0.0),
        "float64": ("float64", "float64", "float64", 0.0),
        "float16": ("float16", "float32", "float32", 0.0),
        "bfloat16": ("bfloat16", "float32", "float32", 0.0),
        "float16-saved": ("float16", "float32", "float32", 0.0),
        "bfloat16-saved": ("bfloat16", "float32", "float32", 0.0),
        "dpbf16": ("bfloat16", "float32", "float32", 0.0),
        "float16-each-op": ("float16", "float16", "float16", 0.0),
        "bfloat16-each-op": ("bfloat16", "bfloat16", "bfloat16", 0.0),
        "tf32": ("float32", "float32", "float32", 2.0**-10),
    }


def test_a_model_is_frozen_and_describes_itself_as_data() -> None:
    m = model("float16-ftz@glibc")
    with pytest.raises(FrozenInstanceError):
        m.flush = False  # type: ignore[misc]
    described = m.describe()
    assert json.loads(json.dumps(described)) == described
    assert described["name"] == m.name
    assert (described["storage"], described["compute"]) == ("float16", "float32")
    assert (described["version"], described["ulps"]) == (VERSION, dict(ULPS["glibc"]))


def test_a_framework_in_16_bits_is_judged_as_kernels_that_store(monkeypatch: pytest.MonkeyPatch) -> None:
    for has, name in ((False, "bfloat16-saved@torch-cpu"), (True, "dpbf16@torch-cpu")):
        monkeypatch.setattr("refnn.models.multiplies_bfloat16", lambda torch, has=has: has)
        assert default_model("bfloat16", "torch") == name
        assert default_model("float16", "torch") == "float16-saved@torch-cpu"
        assert default_model("float32", "torch") == "float32@torch-cpu"
        assert default_model("bfloat16") == "bfloat16"
    described = model("dpbf16@torch-cpu").describe()
    assert (described["saved"], described["dot_flush"], described["dot_floor"]) == (True, True, 2.0**-126)


def test_the_processors_dot_products_are_found_where_it_is_described(tmp_path: Path) -> None:
    flags = tmp_path / "cpuinfo"
    for line, expected in (
        ("flags\t\t: fpu avx512f avx512_bf16 amx_tile\n", True),
        ("flags\t\t: fpu amx_bf16\n", True),
        ("flags\t\t: fpu avx512f\n", False),
        ("model name\t: avx512_bf16 in name only\nflags\t\t: fpu avx2\n", False),
        ("Features\t: fp asimd bf16\n", False),
    ):
        flags.write_text(line)
        assert multiplies_bfloat16(flags=str(flags)) is expected
    nowhere = str(tmp_path / "none")
    for avx, amx in ((True, False), (False, True), (False, False)):
        cpu = SimpleNamespace(_is_avx512_bf16_supported=lambda a=avx: a, _is_amx_tile_supported=lambda a=amx: a)
        assert multiplies_bfloat16(SimpleNamespace(cpu=cpu), nowhere) is (avx or amx)
    assert multiplies_bfloat16(None, nowhere) is False
    assert multiplies_bfloat16(SimpleNamespace(), nowhere) is False


@pytest.mark.parametrize("row", ULPS)
def test_no_row_is_better_than_correctly_rounded(row: str) -> None:
    assert set(ULPS[row]) == set(FUNCTIONS)
    for function, ulps in ULPS[row].items():
        assert ULPS["correctly-rounded"][function] <= ulps <= ULPS["generic"][function]


@pytest.mark.parametrize("row", ULPS)
def test_the_oracles_own_functions_are_close_enough_for_every_row(row: str) -> None:
    """2**29 times as fine as float32, at most 8 times the ulps: within 2**-26 of the model, as refnn.judging.judge
    says."""
    for function, ulps in ULPS["numpy-float64"].items():
        assert ulps <= 8 * ULPS[row][function]


def dot_radius(m: str | Model) -> np.ndarray:
    ar, rng = Balls(m), np.random.default_rng(0)
    return np.asarray(ar.dot(ar.array(rng.normal(size=(3, 50))), ar.array(rng.normal(size=(50, 4)))).rad)


def test_models_are_ordered_as_their_arithmetic_is() -> None:
    """float64 < float32 < tf32, float32 < float16 < bfloat16 with each operation rounded; flushing helps nowhere."""
    radii = {n: dot_radius(n) for n in MODELS}
    for finer, coarser in (
        ("float64", "float32"),
        ("float32", "tf32"),
        ("float32", "float16-each-op"),
        ("float16-each-op", "bfloat16-each-op"),
    ):
        assert (radii[finer] < radii[coarser]).all()
    for name, radius in radii.items():
        assert (radius <= dot_radius(f"{name}-ftz")).all()
    tiny = [float(np.broadcast_to(Balls(n).array([1e-39]).rad, 1)[0]) for n in ("float32", "float32-ftz")]
    assert tiny[0] == 0 and 1e-39 <= tiny[1] <= 1e-39 * (1 + 2.0**-40)


def test_tf32_covers_truncated_factors() -> None:
    """Factors cut to 10 fraction bits, then float32: inside tf32's allowance, and not inside float32's."""
    rng, outside = np.random.default_rng(1), 0
    for _ in range(50):
        a, b = (rng.uniform(1, 2, shape).astype(np.float32) for shape in ((4, 30), (30, 4)))
        cut_a, cut_b = ((x.view(np.int32) & np.int32(-(2**13))).view(np.float32) for x in (a, b))
        error = np.abs((cut_a @ cut_b).astype(np.float64) - a.astype(np.float64) @ b.astype(np.float64))
        radii = {n: np.asarray((ar := Balls(n)).dot(ar.array(a), ar.array(b)).rad) for n in ("tf32", "float32")}
        assert (error <= radii["tf32"]).all()
        outside += int((error > radii["float32"]).sum())
    assert outside > 700
