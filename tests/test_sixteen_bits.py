"""16 bits as kernels do it: what a framework's float16 and bfloat16 are judged by, on PyTorch itself and on wrong
kernels."""

from __future__ import annotations

import collections
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from marks import slow

import refnn
from refnn.arithmetic.balls import Balls
from refnn.arithmetic.noise import Noise
from refnn.formats import FORMATS
from refnn.report import Report

torch = pytest.importorskip("torch")
F = torch.nn.functional
LOSSES = (
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "l1_loss",
    "mse_loss",
    "nll_loss",
    "smooth_l1_loss",
)
JUDGED = ["softmax", "log_softmax", "relu", "silu", "tanh", "sigmoid", *LOSSES]


def unknown(report: Report) -> float:
    """The share of elements that are out of scope."""
    verdicts: collections.Counter[str] = collections.Counter()
    for r in report.results:
        verdicts.update(r.verdicts)
    return verdicts["out_of_scope"] / sum(verdicts.values())


def scaled(factor: float) -> Callable[..., Any]:
    """F.linear times a factor."""
    return lambda x, w, b=None: (F.linear(x, w, b).float() * factor).to(x.dtype)


@pytest.mark.parametrize("model", [None, "bfloat16-saved@torch-cpu", "dpbf16@torch-cpu"])
def test_a_linear_of_1024_terms_in_bfloat16_is_seen_when_it_is_zero_or_five_percent_off(model: str | None) -> None:
    """On data with runs, which have no expected error, and without them."""
    rng, bfloat16 = np.random.default_rng(0), FORMATS["bfloat16"].dtype
    w = (rng.normal(size=(8, 1024)) / 32).astype(bfloat16)
    for x in (np.repeat(rng.normal(size=(4, 64)), 16, axis=1), rng.normal(size=(4, 1024))):
        for factor, right in ((0.0, False), (1.05, False), (1.0, True)):
            found = refnn.check(
                "linear",
                scaled(factor),
                framework="torch",
                dtype="bfloat16",
                model=model,
                inputs={"inputs": (x.astype(bfloat16), w)},
            )
            wrong = {f.what for f in found.findings if f.verdict == "violation"}
            assert wrong == (set() if right else {"output", "grad[x]", "grad[weight]"})
            assert found.ok is right


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("op", ["softmax", "log_softmax", "cross_entropy"])
def test_a_row_of_a_vocabulary_is_judged(op: str, dtype: str) -> None:
    """50,257 classes: every element gets a verdict, and what PyTorch's own kernel loses has a name."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 50257)).astype(FORMATS[dtype].dtype)
    inputs = (x, np.array([3, 50_000])) if op == "cross_entropy" else (x,)
    found = refnn.check(op, getattr(F, op), framework="torch", dtype=dtype, inputs={"inputs": inputs})
    assert found.header["model"].startswith(f"{dtype}-saved@") or found.header["model"] == "dpbf16@torch-cpu"
    assert unknown(found) == 0
    assert {f.verdict for f in found.findings} <= {"explained"}
    assert sum(r.elements for r in found.results) >= 2 * 50257


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("op", slow(JUDGED, *({*JUDGED} - {"softmax", "relu"})))
def test_pytorch_gets_a_verdict_in_16_bits(op: str, dtype: str) -> None:
    from refnn.witnesses.torch import FUNCTIONS

    assert unknown(refnn.check(op, FUNCTIONS[op], framework="torch", dtype=dtype)) < 0.05


def test_a_difference_that_a_kernel_stores_is_allowed_where_the_model_says_so() -> None:
    """(a - b)^2 from a difference rounded to float16 is half a percent of a percent off: no kernel that fuses is."""
    rng = np.random.default_rng(1)
    a, b = (rng.normal(size=999).astype(np.float16) for _ in range(2))

    def stored(a: np.ndarray, b: np.ndarray, reduction: str) -> np.ndarray:
        d = (a - b).astype(np.float32)
        return (d * d).astype(np.float16)

    for model, right in (("float16-saved", True), ("float16", False)):
        inputs = {"inputs": (a, b), "params": {"reduction": "none"}}
        assert refnn.check("mse_loss", forward=stored, model=model, dtype="float16", inputs=inputs).ok is right


@pytest.mark.parametrize("name", ["float32", "float64", "float16", "bfloat16", "float16-each-op", "tf32"])
def test_nothing_is_stored_on_the_way_but_where_the_model_says_so(name: str) -> None:
    for ar in (Balls(name), Noise(name)):
        x = ar.array(np.array([1.1, -3.0]))
        assert ar.saved(x, 3) is x


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_what_is_stored_may_round_or_not(dtype: str) -> None:
    """Half an ulp of the storage format for each time, around the number itself; beyond the format nothing is known."""
    fmt, numbers = FORMATS[dtype], np.array([1.5, -3.0, 0.1, 0.0])
    ar = Balls(f"{dtype}-saved")
    x = ar.array(numbers)
    for times in (1, 2):
        stored = ar.saved(x, times)
        half = fmt.ulp(numbers) / 2
        assert (stored.mid == numbers).all()
        assert (stored.rad >= times * half).all()
        assert (stored.rad <= times * half * (1 + 2.0**-20)).all()
    beyond = ar.saved(ar.array(np.array([2.0 * fmt.max])))
    assert np.isinf(beyond.rad).all() and np.isfinite(beyond.mid).all()
    noise = Noise(f"{dtype}-saved")
    assert (noise.saved(noise.array(numbers)).std() > 0).tolist() == [True, True, True, False]
