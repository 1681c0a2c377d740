"""Units that read or round as a model says are judged whole under it."""

from __future__ import annotations

import collections

import numpy as np
import pytest
from units import Dots, Tf32, judged

from refnn.arithmetic.balls import Balls
from refnn.arithmetic.noise import Noise
from refnn.judging.cases import cases
from refnn.models import MODELS
from refnn.ops import OPS
from refnn.variants import alone

FAULTS = {"violation", "special", "error", "explained"}
CONTRACTIONS = ("linear", "conv1d", "conv_transpose2d", "locally_connected2d")


@pytest.mark.parametrize("op", CONTRACTIONS)
def test_a_unit_that_truncates_factors_is_inside_tf32(op: str) -> None:
    total: collections.Counter[str] = collections.Counter()
    for seed in range(3):
        for case in cases(alone(OPS[op]), "float32", seed=seed, families=["subnormal", "limits", "wide", "normal"]):
            counts, findings = judged(case, Tf32(), "tf32")
            total.update(counts)
            assert not [f for f in findings if f.verdict in FAULTS], str(findings[0])
    assert total["ok"] + total["exact"] > 1000


@pytest.mark.parametrize("op", CONTRACTIONS)
def test_dot_products_that_know_no_subnormal_numbers_are_inside_their_model_alone(op: str) -> None:
    total: collections.Counter[str] = collections.Counter()
    beyond = 0
    for seed in range(2):
        for case in cases(alone(OPS[op]), "bfloat16", seed=seed, families=["subnormal", "limits", "tiny", "normal"]):
            counts, findings = judged(case, Dots(), "dpbf16")
            total.update(counts)
            assert not [f for f in findings if f.verdict in FAULTS], str(findings[0])
            beyond += judged(case, Dots(), "bfloat16-saved")[0].get("violation", 0)
    assert total["ok"] + total["exact"] > 1000
    assert beyond > 10


def test_a_subnormal_factor_has_no_more_fraction_bits_than_the_smallest_normal_one() -> None:
    """2**-140 is read as zero, so that all of its product with 2**100 is lost: by far more than a part in 2**10."""
    x, w = np.array([[2.0**-140]]), np.array([[2.0**100]])
    for ar in (Balls("tf32"), Noise("tf32")):
        product = ar.dot(ar.array(x), ar.array(w))
        width = product.rad if isinstance(ar, Balls) else product.bias
        assert float(np.max(width)) >= 2.0**-40
        normal = ar.dot(ar.array(np.array([[2.0**-126]])), ar.array(w))
        assert float(np.max(normal.rad if isinstance(ar, Balls) else normal.bias)) < 2.0**-24
    assert MODELS["tf32"].dot_floor == 2.0**-136
