"""The piecewise activations: what they refuse, their conventions at kinks and jumps, and bugs that others have had."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

import refnn
from refnn.arithmetic.balls import Balls
from refnn.arithmetic.exact import Arb, Fractions
from refnn.arithmetic.floats import Floats
from refnn.arithmetic.symbols import Symbols
from refnn.ops import selu as constants

F32 = np.float32
X = np.array([-4.0, -3.0, -0.5, 0.0, 0.5, 3.0, 7.0], F32)


# --- refusals --------------------------------------------------------------------------------------------------------

REFUSED: Mapping[str, tuple[Callable[[], Any], str]] = {
    "leaky slope": (
        lambda: refnn.leaky_relu(X, negative_slope=float("nan")),
        r"leaky_relu: negative_slope is nan, expected a finite number",
    ),
    "elu alpha": (lambda: refnn.elu(X, alpha="1"), r"elu: alpha is '1', expected a finite number"),
    "celu alpha": (lambda: refnn.celu(X, alpha=float("inf")), r"celu: alpha is inf, expected a finite number"),
    "celu zero": (lambda: refnn.celu(X, alpha=0.0), r"celu: alpha is 0\.0, expected any other number"),
    "prelu channels": (
        lambda: refnn.prelu(np.ones((2, 3), F32), np.ones(2, F32)),
        r"prelu: weight has shape \(2,\), expected \(1,\) or \(3,\), one slope for each channel of x of shape \(2, 3\)",
    ),
    "prelu one channel": (
        lambda: refnn.prelu(np.ones(3, F32), np.ones(3, F32)),
        r"prelu: weight has shape \(3,\), expected \(1,\)$",
    ),
    "prelu rank": (
        lambda: refnn.prelu(np.ones((2, 3), F32), np.ones((3, 1), F32)),
        r"prelu: weight has shape \(3, 1\), expected \(1,\) or \(3,\)",
    ),
    "rrelu shapes": (
        lambda: refnn.rrelu(X, np.ones(1, F32)),
        r"rrelu: x has shape \(7,\), slope has shape \(1,\), expected the same shape",
    ),
    "hardtanh order": (
        lambda: refnn.hardtanh(X, min_val=1.0, max_val=-1.0),
        r"hardtanh: min_val is 1\.0 and max_val -1\.0, expected min_val at most max_val",
    ),
    "hardtanh nan": (
        lambda: refnn.hardtanh(X, min_val=float("nan"), max_val=0.5),
        r"hardtanh: min_val",
    ),
    "hardtanh number": (
        lambda: refnn.hardtanh(X, max_val=None),
        r"hardtanh: max_val is None, expected a finite number",
    ),
    "threshold number": (
        lambda: refnn.threshold(X, threshold=float("nan"), value=0.0),
        r"threshold: threshold is nan, expected a finite number",
    ),
    "threshold value": (
        lambda: refnn.threshold(X, threshold=0.0, value=float("-inf")),
        r"threshold: value is -inf, expected a finite number",
    ),
    "softshrink sign": (
        lambda: refnn.softshrink(X, lambd=-0.5),
        r"softshrink: lambd is -0\.5, expected a number from 0 on",
    ),
    "softshrink number": (
        lambda: refnn.softshrink(X, lambd=float("nan")),
        r"softshrink: lambd is nan, expected a finite number",
    ),
    "hardshrink number": (
        lambda: refnn.hardshrink(X, lambd=float("inf")),
        r"hardshrink: lambd is inf, expected a finite number",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused_gets_a_sentence(what: str) -> None:
    call, sentence = REFUSED[what]
    with pytest.raises(ValueError, match=sentence):
        call()


# --- refnn's own values ----------------------------------------------------------------------------------------------

# Op -> (parameters, points, outputs, derivatives): at kinks and jumps those of the first convention.
OWN: Mapping[str, tuple[dict[str, Any], list[float], list[float], list[float]]] = {
    "leaky_relu": ({"negative_slope": -2.0}, [-1, 0, 1], [2, 0, 1], [-2, -2, 1]),
    "elu": ({"alpha": 0.25}, [0, 1], [0, 1], [0.25, 1]),
    "celu": ({"alpha": -2.0}, [0, 1], [0, 1], [1, 1]),
    "hardtanh": ({"min_val": -2.0, "max_val": 0.5}, [-3, -2, 0, 0.5, 3], [-2, -2, 0, 0.5, 0.5], [0, 0, 1, 0, 0]),
    "relu6": ({}, [-1, 0, 3, 6, 7], [0, 0, 3, 6, 6], [0, 0, 1, 0, 0]),
    "hardswish": ({}, [-4, -3, -1.5, 0, 3, 4], [0, 0, -0.375, 0, 3, 4], [0, 0, 0, 0.5, 1, 1]),
    "threshold": ({"threshold": 1.0, "value": 20.0}, [0, 1, 2], [20, 20, 2], [0, 0, 1]),
    "softshrink": ({"lambd": 2.0}, [-3, -2, 0, 2, 3], [-1, 0, 0, 0, 1], [1, 0, 0, 0, 1]),
    "hardshrink": ({"lambd": 2.0}, [-3, -2, 0, 2, 3], [-3, 0, 0, 0, 3], [1, 0, 0, 0, 1]),
}


@pytest.mark.parametrize("name", OWN)
def test_own_values_at_kinks_and_jumps(name: str) -> None:
    params, points, outputs, derivatives = OWN[name]
    x, op = np.array(points, F32), refnn.ops[name]
    assert op(x, **params).tolist() == outputs
    assert op.vjp(np.ones_like(x), x, **params)[0].tolist() == derivatives
    certified = refnn.truth(name, x, cotangent=np.ones_like(x), **params)
    assert certified.output.value.tolist() == outputs
    assert certified.grads[0] is not None
    assert certified.grads[0].value.tolist() == derivatives


def test_clipping_to_a_single_number_is_constant() -> None:
    """As PyTorch has it, at the number too; there a slope of 1 would be no convention but wrong."""
    pytest.importorskip("torch")
    from refnn.witnesses.torch import FUNCTIONS

    case = {"inputs": (np.array([-1, 0.5, 2], F32),), "params": {"min_val": 0.5, "max_val": 0.5}}
    report = refnn.check("hardtanh", FUNCTIONS["hardtanh"], framework="torch", inputs=[case])
    assert report.ok and {v for r in report.results for v in r.verdicts} == {"exact"}
    closed = refnn.check("hardtanh", forward=refnn.hardtanh, vjp=lambda g, x, **_: (g * (x == 0.5),), inputs=[case])
    assert closed.verdict == "violation"


@pytest.mark.parametrize(("name", "lambd"), [("softshrink", 0.0), ("hardshrink", 0.0), ("hardshrink", -0.5)])
def test_shrinkage_by_nothing_is_the_identity_at_zero_too(name: str, lambd: float) -> None:
    x, g = np.array([-0.5, 0.0, 0.5], F32), np.array([2.0, 3.0, 4.0], F32)
    op = refnn.ops[name]
    assert op(x, lambd=lambd).tolist() == x.tolist()
    assert op.vjp(g, x, lambd=lambd)[0].tolist() == g.tolist()


# --- conventions -----------------------------------------------------------------------------------------------------


def test_a_convention_is_named_after_what_it_decides() -> None:
    """The function or its slope, the place and the choice; the rule of a tie."""
    for op in refnn.ops.values():
        function = "abs" if op.name in ("l1_loss", "smooth_l1_loss") else op.name
        for name, share in op.kinks.items():
            form = rf"{function}'?\([a-z0-9]+\)=[a-z0-9_*/-]+|tie={share}|threshold=(open|closed)"
            assert re.fullmatch(form, name), name


@pytest.mark.parametrize("arithmetic", [Floats(np.float64), Balls("float32"), Arb(), Fractions(), Symbols()])
def test_kinks_of_several_names_are_decided_one_by_one(arithmetic: Any) -> None:
    ar = arithmetic
    ar.convention = {"low": 0.25, "high": 0.75}
    for kink, mean in (("low", 3.5), ("high", 2.5)):
        y = ar.branch(ar.array(np.zeros(1)), ar.array(np.full(1, 2.0)), ar.array(np.full(1, 4.0)), kink=kink)
        assert float(getattr(y, "mid", y)[0]) == mean


def conventions(name: str, forward: Any, vjp: Any, points: list[float], **params: Any) -> dict[str, list[str]]:
    """Verdict or convention of each point's output and gradient."""
    x = np.array(points, F32)
    case = {"inputs": (x,), "cotangent": np.full(x.shape, F32(1.5)), "params": params}
    said = {}
    for i in range(len(x)):
        one = {**case, "inputs": (x[i : i + 1],), "cotangent": case["cotangent"][i : i + 1]}
        for f in refnn.check(name, forward=forward, vjp=vjp, dtype="float32", inputs=one).findings:
            said.setdefault(f.what, []).append(f.name or f.verdict)
    return said


def clipped(inside: Callable[[np.ndarray], np.ndarray]) -> Callable[..., Any]:
    return lambda g, x, **params: (np.where(inside(x), g, F32(0)),)


def test_open_closed_and_half_open_are_told_apart_at_each_bound() -> None:
    names = {"open": "hardtanh'(1)=open", "closed": "hardtanh'(1)=closed"}
    forward = refnn.hardtanh
    for inside, left, right in (
        (lambda x: (x > -1) & (x < 1), "open", "open"),
        (lambda x: (x >= -1) & (x <= 1), "closed", "closed"),
        (lambda x: (x >= -1) & (x < 1), "closed", "open"),
    ):
        said = conventions("hardtanh", forward, clipped(inside), [-1.0, 0.0, 1.0])
        assert said == {"grad[x]": [names[left], names[right]]}


@pytest.mark.parametrize("name", ["threshold", "hardshrink"])
def test_at_a_jump_both_sides_are_accepted_and_nothing_between(name: str) -> None:
    """The mean is a sound derivative nowhere and a sound value neither, but the derivative counts as any share does."""
    params = {"threshold": {"threshold": 0.5, "value": -2.0}, "hardshrink": {"lambd": 0.5}}[name]
    op = refnn.ops[name]
    below, above = op.kinks

    def shifted(share: float) -> Callable[..., Any]:
        def forward(x: np.ndarray, **given: Any) -> np.ndarray:
            left, right = op(x, **given), x
            return np.where(x == F32(0.5), F32(1 - share) * left + F32(share) * right, left)

        return forward

    for share, expected in ((0.0, below), (1.0, above), (0.5, "violation")):
        said = conventions(name, shifted(share), op.vjp, [0.25, 0.5, 1.0], **params)
        assert said["output"] == [expected]


def test_hardswish_at_its_bounds_follows_either_side() -> None:
    def vjp(inside: bool) -> Callable[..., Any]:
        def f(g: np.ndarray, x: np.ndarray) -> tuple[np.ndarray]:
            here = (np.abs(x) <= 3) if inside else (np.abs(x) < 3)
            return (np.where(here, g * (2 * x + 3) / 6, np.where(x > 0, g, F32(0))).astype(F32),)

        return f

    assert conventions("hardswish", refnn.hardswish, vjp(False), [-3.0, 3.0]) == {
        "grad[x]": ["hardswish'(3)=outside"] * 2
    }
    assert conventions("hardswish", refnn.hardswish, vjp(True), [-3.0, 3.0]) == {
        "grad[x]": ["hardswish'(3)=inside"] * 2
    }


def test_celu_has_no_kink() -> None:
    """Any other slope than 1 at zero is wrong."""

    def vjp(g: np.ndarray, x: np.ndarray, *, alpha: float) -> tuple[np.ndarray]:
        return (np.where(x > 0, g, g * F32(0.5)),)

    assert conventions("celu", refnn.celu, vjp, [0.0]) == {"grad[x]": ["violation"]}


# --- bugs that others have had ---------------------------------------------------------------------------------------


def elu_from_output(g: np.ndarray, x: np.ndarray, *, alpha: float) -> tuple[np.ndarray]:
    y = refnn.elu(x, alpha=alpha)
    return (np.where(y > 0, g, g * (y + F32(alpha))),)


def selu_scaled_twice(g: np.ndarray, x: np.ndarray) -> tuple[np.ndarray]:
    scale, alpha = F32(constants.SCALE), F32(constants.ALPHA)
    return (np.where(x > 0, g * scale, g * (refnn.selu(x) + scale * alpha) * scale),)


def hardsigmoid_without_lower_mask(g: np.ndarray, x: np.ndarray) -> tuple[np.ndarray]:
    return (np.where(x < 3, g / F32(6), F32(0)),)


def relu6_of_nan(g: np.ndarray, x: np.ndarray) -> tuple[np.ndarray]:
    return (np.where((x > 0) & (x < 6), g, np.where(np.isnan(x), F32(6), F32(0))),)


def prelu_on_the_last_axis(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    if x.ndim and x.shape[-1] == weight.size:
        return np.where(x > 0, x, weight * x)
    return np.asarray(refnn.prelu(x, weight))


# Mutants 47, 49, 52, 61 of the survey: repo#id of the bug -> op, forward, vjp.
BUGS: Mapping[str, tuple[str, Any, Any]] = {
    "pytorch#47671 elu from the output": ("elu", refnn.elu, elu_from_output),
    "RubixML#427 selu scaled twice": ("selu", refnn.selu, selu_scaled_twice),
    "pytorch#51408 hardsigmoid below -3": ("hardsigmoid", refnn.hardsigmoid, hardsigmoid_without_lower_mask),
    "FlagGems#4992 prelu on the last axis": ("prelu", prelu_on_the_last_axis, refnn.prelu.vjp),
}


@pytest.mark.parametrize("bug", BUGS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_known_bugs_are_violations(bug: str) -> None:
    name, forward, vjp = BUGS[bug]
    report = refnn.check(name, forward=forward, vjp=vjp, dtype="float32")
    assert not report.ok
    assert report.count("violation") > 0


def test_elu_from_its_output_is_only_wrong_for_a_negative_alpha() -> None:
    """With alpha from 0 on it is the class `textbook`; below, the sign of y is not that of x."""
    positive, negative = (
        refnn.check(
            "elu", forward=refnn.elu, vjp=elu_from_output, dtype="float32", where={"alpha": a}, families=["normal"]
        )
        for a in (2.5, -0.75)
    )
    assert positive.count("violation") == 0
    assert negative.count("violation") > 0


def test_the_gradient_at_nan_is_free_but_relu6_must_use_the_cotangent() -> None:
    """Mutant 55 gives 6 at NaN, which is free; a gradient that ignores g elsewhere is not."""
    assert refnn.check("relu6", forward=refnn.relu6, vjp=relu6_of_nan, dtype="float32").ok

    def ignoring(g: np.ndarray, x: np.ndarray) -> tuple[np.ndarray]:
        return (((x > 0) & (x < 6)).astype(g.dtype),)

    assert refnn.check("relu6", forward=refnn.relu6, vjp=ignoring, dtype="float32").count("violation") > 0


@pytest.mark.parametrize("name", ["hardtanh", "relu6", "threshold", "hardshrink"])
def test_selections_flag_one_ulp(name: str) -> None:
    """Nothing is rounded where the format holds the parameters, so the allowance is zero there."""
    op = refnn.ops[name]

    def off(x: np.ndarray, **params: Any) -> np.ndarray:
        y = op(x, **params)
        return np.where((y == x) & (x != 0), np.nextafter(y, F32(np.inf)), y).astype(F32)

    report = refnn.check(name, forward=off, vjp=op.vjp, dtype="float32", families=["normal"])
    assert report.count("violation") > 100
    assert not {"ok", "suspect", "explained"} & {f.verdict for f in report.findings}


def test_hardswish_of_large_numbers_does_not_overflow() -> None:
    """The product form does; the report calls it a violation and not out of scope."""
    big = np.array([F32(2.0) ** 126], F32)
    assert refnn.hardswish(big).tolist() == big.tolist()

    def product(x: np.ndarray) -> np.ndarray:
        return x * np.clip(x + 3, 0, 6).astype(F32) / 6

    assert refnn.check("hardswish", forward=product, inputs=(big,)).count("violation") == 1
    assert refnn.check("hardswish", forward=product, inputs=(big / 64,), accept=("explained",)).ok


def test_parameters_that_the_format_does_not_hold_are_rounded_once() -> None:
    """Beside such a bound either side is sound; two ulps away only one is."""
    params = {"min_val": 0.3, "max_val": 0.7}
    points = [F32(b) + F32(k) * np.spacing(F32(b)) for b in (0.3, 0.7) for k in (-2, -1, 0, 1, 2)]
    x = np.array([*points, 0.5], F32)
    case = {"inputs": (x,), "cotangent": np.full(x.shape, F32(1.5)), "params": params}

    def vjp(inside: Callable[[np.ndarray], np.ndarray]) -> Callable[..., Any]:
        return lambda g, x, **_: (np.where(inside(x), g, F32(0)),)

    low, high = F32(0.3), F32(0.7)
    for inside in (lambda x: (x > low) & (x < high), lambda x: (x >= low) & (x <= high)):
        assert refnn.check("hardtanh", forward=refnn.hardtanh, vjp=vjp(inside), inputs=case).ok
    wide = np.spacing(low) * 2
    report = refnn.check("hardtanh", forward=refnn.hardtanh, vjp=vjp(lambda x: x > low + wide), inputs=case)
    assert report.count("violation") > 0
    value = {"inputs": (x,), "params": {"threshold": 10.0, "value": 0.3}}
    for given, verdict in ((low, "exact"), (np.nextafter(low, high), "violation")):
        report = refnn.check("threshold", forward=lambda x, given=given, **_: np.full_like(x, given), inputs=value)
        assert report.count(verdict) == len(x)


def test_a_nan_beside_a_rounded_bound_is_a_nan() -> None:
    x = np.array([np.nan, 0.5], F32)
    given = {"inputs": (x,), "params": {"min_val": 0.3, "max_val": 0.7}}
    assert refnn.check("hardtanh", forward=refnn.hardtanh, vjp=refnn.hardtanh.vjp, inputs=given).ok
    swallowed = refnn.check("hardtanh", forward=lambda x, **_: np.full_like(x, 0.5), inputs=given)
    assert swallowed.count("special") == 1
