"""What check says of right, wrong and misbehaving implementations."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from marks import in_every

import refnn
from refnn.checking.check import false_alarm_line
from refnn.judging.case import LAYOUTS, Case
from refnn.judging.cases import cases
from refnn.judging.families import COTANGENTS, FAMILIES
from refnn.models import MODELS
from refnn.op import Op
from refnn.ops import OPS
from refnn.report import VERDICTS, Report

F32 = "float32"


def softmax(x: np.ndarray, *, axis: int = -1) -> np.ndarray:
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def softmax_vjp(g: np.ndarray, x: np.ndarray, *, axis: int = -1) -> tuple[np.ndarray]:
    y = softmax(x, axis=axis)
    return (y * (g - (g * y).sum(axis=axis, keepdims=True)),)


def run_softmax(forward: Any = softmax, vjp: Any = softmax_vjp, **options: Any) -> refnn.Report:
    return refnn.check("softmax", forward=forward, vjp=vjp, **{"dtype": F32, "families": ["normal", "grid"], **options})


def verdicts(report: refnn.Report) -> set[str]:
    return {f.verdict for f in report.findings}


def messages(report: refnn.Report) -> str:
    return " | ".join(f.message for f in report.findings)


@pytest.mark.usefixtures("shared_judges")
@pytest.mark.parametrize(("name", "dtype"), in_every(["float16", "bfloat16", "float32", "float64"], OPS))
def test_the_reference_conforms_to_itself_in_every_dtype(name: str, dtype: str) -> None:
    """Floats is one evaluation of the accurate class, so nothing but exact, ok and convention may come out."""
    op = OPS[name]
    report = refnn.check(name, forward=op, vjp=op.vjp, dtype=dtype)
    assert report.ok, str(report)
    assert report.elements > 1000
    shapes = {str((v.shapes, v.kinds)) for v in op.variants}  # those that differ in parameters alone share the families
    assert report.cases == len(list(cases(name, dtype))) >= len(FAMILIES) * len(shapes)


def test_a_right_implementation_has_only_conforming_verdicts() -> None:
    report = run_softmax()
    assert report.ok
    assert report.verdict in ("exact", "ok")
    assert 0 < report.worst_ratio <= 1
    assert "conforms" in str(report)


WRONG: dict[str, tuple[Any, Any]] = {
    "zeros": (lambda x, *, axis: np.zeros_like(x), softmax_vjp),
    "nan": (lambda x, *, axis: np.full_like(x, np.nan), softmax_vjp),
    "infinite": (lambda x, *, axis: np.full_like(x, np.inf), softmax_vjp),
    "diagonal only": (softmax, lambda g, x, *, axis: (g * softmax(x, axis=axis) * (1 - softmax(x, axis=axis)),)),
    "cotangent ignored": (softmax, lambda g, x, *, axis: softmax_vjp(np.ones_like(g), x, axis=axis)),
    "cotangent broadcast": (
        softmax,
        lambda g, x, *, axis: softmax_vjp(np.broadcast_to(g.ravel()[:1], g.shape) if g.size else g, x, axis=axis),
    ),
    "one ulp in the gradient": (
        softmax,
        lambda g, x, *, axis: (softmax_vjp(g, x, axis=axis)[0] * np.float32(1.00001),),
    ),
    "nan gradient": (softmax, lambda g, x, *, axis: (np.full_like(x, np.nan),)),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_values_are_violations(name: str) -> None:
    report = run_softmax(*WRONG[name])
    assert not report.ok
    assert "violation" in verdicts(report), str(report)
    f = next(f for f in report.findings if f.verdict == "violation")
    assert f.case in str(f) and "expected" in str(f)
    assert not f.ratio <= 1


def in_place(x: np.ndarray, *, axis: int) -> np.ndarray:
    x -= x.max(axis=axis, keepdims=True, initial=-np.inf)
    np.exp(x, out=x)
    x /= x.sum(axis=axis, keepdims=True)
    return x


def unrepeatable() -> Any:
    calls = iter(range(10**6))
    return lambda x, *, axis: softmax(x, axis=axis) + np.float32(1e-9) * (next(calls) % 2) * (x == x)


MISBEHAVIOUR: dict[str, tuple[Any, Any, str]] = {
    "raises": (lambda x, *, axis: 1 / 0, softmax_vjp, "raised ZeroDivisionError: division by zero"),
    "none": (lambda x, *, axis: None, softmax_vjp, "is a NoneType, expected a NumPy array of float32"),
    "list": (lambda x, *, axis: softmax(x, axis=axis).tolist(), softmax_vjp, "is a list"),
    "python float": (lambda x, *, axis: 1.0, softmax_vjp, "is a float"),
    "object array": (lambda x, *, axis: softmax(x, axis=axis).astype(object), softmax_vjp, "has dtype object"),
    "wrong dtype": (lambda x, *, axis: softmax(x, axis=axis).astype("f8"), softmax_vjp, "has dtype float64"),
    "wrong shape": (
        lambda x, *, axis: softmax(x, axis=axis)[None],
        softmax_vjp,
        "has shape (1, 5, 7), expected (5, 7)",
    ),
    "in place": (in_place, softmax_vjp, "modified its input x in place"),
    "unrepeatable": (unrepeatable(), softmax_vjp, "different bits in two runs"),
    "no gradients": (softmax, lambda g, x, *, axis: (), "returned 0 gradients, expected 1"),
    "gradient none": (softmax, lambda g, x, *, axis: (None,), "grad[x] is a NoneType"),
    "gradient of another dtype": (
        softmax,
        lambda g, x, *, axis: (softmax_vjp(g, x, axis=axis)[0].astype("f8"),),
        "float64",
    ),
    "gradient of a sum": (
        softmax,
        lambda g, x, *, axis: (softmax_vjp(g, x, axis=axis)[0].sum(0),),
        "grad[x] has shape",
    ),
    "vjp none": (softmax, lambda g, x, *, axis: None, "the vjp returned a NoneType"),
}


@pytest.mark.parametrize("name", MISBEHAVIOUR)
def test_misbehaviour_is_an_error_with_a_sentence_and_the_run_goes_on(name: str) -> None:
    forward, vjp, sentence = MISBEHAVIOUR[name]
    report = run_softmax(forward, vjp)
    assert not report.ok
    assert "error" in verdicts(report)
    assert sentence in messages(report)
    asked = sum(1 for _ in cases("softmax", F32, families=["normal", "grid"]))
    assert report.cases == asked > 2 * len(OPS["softmax"].variants)  # every case was run all the same


def test_the_traceback_of_the_tested_code_is_kept() -> None:
    def exploding(x: np.ndarray, *, axis: int) -> np.ndarray:
        raise OSError("no such kernel")

    assert "in exploding" in messages(run_softmax(exploding))


def test_a_modified_cotangent_is_an_error() -> None:
    def vjp(g: np.ndarray, x: np.ndarray, *, axis: int) -> tuple[np.ndarray]:
        if g.flags.writeable:
            g *= 2
        return softmax_vjp(g, x, axis=axis)

    assert "modified the cotangent" in messages(run_softmax(vjp=vjp))


def test_the_header_says_what_was_asked() -> None:
    report = refnn.check(
        "relu", forward=refnn.relu, vjp=refnn.relu.vjp, dtype=F32, families=["tiny"], seed=3, false_alarm=1e-3
    )
    report_cases = list(cases("relu", F32, seed=3, families=["tiny"]))
    elements = sum(c.elements for c in report_cases)
    assert report.header == {
        "subject": "relu",
        "dtype": "float32",
        "implementation": "forward=f, vjp=v",
        "model": "float32",
        "models": [MODELS["float32"].describe()],
        "algorithm": "accurate",
        "seed": 3,
        "false_alarm": 1e-3,
        "deviations": false_alarm_line(1e-3, elements),
        "notes": [],
        "covered": report.header["covered"],
        "supported": report.header["supported"],
        "unsupported": {},
        "ordinary": report.header["ordinary"],
    }
    ran, usual = report.header["ordinary"]
    assert ran == usual == sum(c.elements > 0 and c.inputs[0].ndim > 0 for c in report_cases)


def test_the_header_names_a_function_of_a_framework() -> None:
    torch = pytest.importorskip("torch")
    report = refnn.check("relu", torch.relu, framework="torch", dtype=F32, families=["tiny"])
    assert report.header["implementation"] == "torch.relu, framework='torch'"


def test_forward_alone_says_so() -> None:
    report = refnn.check("softmax", forward=softmax, dtype=F32, families=["normal"])
    assert report.ok
    assert any("forward alone" in n for n in report.header["notes"])
    assert {r.what for r in report.results} == {"output"}


# --- conventions and classes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("share", "name"), [(0.0, "relu'(0)=0"), (1.0, "relu'(0)=1"), (0.5, "relu'(0)=1/2")])
def test_relu_convention_is_a_named_convention(share: float, name: str) -> None:
    def vjp(g: np.ndarray, x: np.ndarray) -> tuple[np.ndarray]:
        return (np.where(x > 0, g, np.where(x == 0, np.float32(share) * g, np.float32(0))),)

    report = refnn.check("relu", forward=OPS["relu"], vjp=vjp, dtype=F32, families=["grid", "zeros"])
    assert report.ok, str(report)
    assert {f.name for f in report.findings} == {name}


def test_relu_between_the_one_sided_derivatives_is_unnamed() -> None:
    def vjp(g: np.ndarray, x: np.ndarray) -> tuple[np.ndarray]:
        return (np.where(x > 0, g, np.where(x == 0, np.float32(0.25) * g, np.float32(0))),)

    report = refnn.check("relu", forward=OPS["relu"], vjp=vjp, dtype=F32, families=["grid"])
    assert {f.name for f in report.findings} == {"between the one-sided derivatives"}
    assert report.worst_ratio == 0


@pytest.mark.parametrize("share", [-0.5, 1.5, 2.0])
def test_relu_outside_the_clarke_interval_is_a_violation(share: float) -> None:
    def vjp(g: np.ndarray, x: np.ndarray) -> tuple[np.ndarray]:
        return (np.where(x > 0, g, np.where(x == 0, np.float32(share) * g, np.float32(0))),)

    report = refnn.check("relu", forward=OPS["relu"], vjp=vjp, dtype=F32, families=["grid"])
    assert "violation" in verdicts(report)


def test_relu_flags_one_ulp() -> None:
    """Its allowance is zero."""

    def off(x: np.ndarray) -> np.ndarray:
        return np.where(x > 0, np.nextafter(x, np.float32(np.inf)), np.maximum(x, 0)).astype(x.dtype)

    report = refnn.check("relu", forward=off, vjp=OPS["relu"].vjp, dtype=F32, families=["normal"])
    positive = sum(int((c.inputs[0] > 0).sum()) for c in cases("relu", F32, families=["normal"]))
    assert report.count("violation") == positive > 0


def textbook(g: np.ndarray, x: np.ndarray) -> tuple[np.ndarray]:
    y = np.tanh(x)
    return (g * (1 - y * y),)


def test_the_textbook_gradient_of_tanh_is_explained_by_name() -> None:
    report = refnn.check("tanh", forward=np.tanh, vjp=textbook, dtype=F32)
    assert not report.ok
    assert {f.name for f in report.findings if f.verdict == "explained"} == {"textbook"}
    assert "violation" not in verdicts(report)
    lost = [f for f in report.findings if f.digits_lost == "all digits lost"]
    assert lost and "all digits lost" in str(lost[0])
    assert refnn.check("tanh", forward=np.tanh, vjp=textbook, dtype=F32, accept=("explained",)).ok
    assert refnn.check("tanh", forward=np.tanh, vjp=textbook, dtype=F32, algorithm="textbook").ok


def test_a_wrong_gradient_is_not_explained_by_a_class() -> None:
    report = refnn.check("tanh", forward=np.tanh, vjp=lambda g, x: (g * (1 - np.tanh(x)),), dtype=F32)
    assert "violation" in verdicts(report)


# --- special values and scope ----------------------------------------------------------------------------------------


def test_swallowed_nan_is_special() -> None:
    """np.fmax drops a NaN that relu must hand on."""
    report = refnn.check("relu", forward=lambda x: np.fmax(x, x.dtype.type(0)), vjp=OPS["relu"].vjp, dtype=F32)
    assert verdicts(report) - {"convention"} == {"special"}


def test_a_signalling_nan_is_judged_without_a_warning() -> None:
    """Memory read beyond its end may hold one, and a cast of it warns, which is an error here."""
    signalling = np.uint32(0x7FA00000).view(np.float32)

    def forward(x: np.ndarray) -> np.ndarray:
        return np.full_like(x, signalling)

    assert verdicts(refnn.check("tanh", forward=forward, dtype=F32, families=["grid"])) == {"violation"}


def test_the_gradient_at_a_nan_is_free() -> None:
    x = np.array([1.0, np.nan, 2.0], F32)
    g = np.array([1.0, 1.0, 1.0], F32)
    report = refnn.check(
        "relu", forward=OPS["relu"], vjp=lambda g, x: (np.float32([1, 77, 1]),), inputs={"inputs": (x,), "cotangent": g}
    )
    assert report.ok
    assert report.elements == 3 + 2


def test_overflow_of_a_result_is_expected_and_of_a_partial_sum_out_of_scope() -> None:
    big = np.float32(3e38)
    x, t = np.array([big]), np.array([-big])
    op = OPS["mse_loss"]
    report = refnn.check("mse_loss", forward=op, vjp=op.vjp, inputs={"inputs": (x, t), "params": {"reduction": "none"}})
    assert report.count("exact") >= 1, "the square surely overflows, so infinity is exact"
    finite = refnn.check(
        "mse_loss",
        forward=lambda input, target, *, reduction: np.full_like(input, np.float32(3e38)),
        inputs={"inputs": (x, t), "params": {"reduction": "none"}},
    )
    assert not finite.ok
    sums = refnn.check("linear", forward=OPS["linear"], inputs=(np.array([[big, big]]), np.array([[1, -1]], F32)))
    assert sums.count("out_of_scope") == 1
    assert not sums.ok  # nothing was checked


def _gradients_of_half_a_square(of: Callable[[Any], Any]) -> Report:
    """A vjp of half_squared_error where x - t surely overflows and the gradient, of which this is made, does not."""
    x, t, g = np.array([3e38], F32), np.array([-3e38], F32), np.array([1e-5], F32)

    def vjp(g: Any, x: Any, t: Any, *, reduction: str) -> Any:
        gx = np.asarray(of((x.astype(np.float64) - t) * g)).astype(F32)
        return gx, -gx

    given = {"inputs": (x, t), "params": {"reduction": "none"}, "cotangent": g}
    return refnn.check("half_squared_error", vjp=vjp, inputs=given)


@pytest.mark.parametrize("of", [lambda exact: exact, lambda exact: exact * np.inf, lambda exact: 0 * exact])
def test_nothing_is_claimed_of_what_overflows_and_comes_back(of: Callable[[Any], Any]) -> None:
    """x - t overflows and its product with a small cotangent does not: out of scope, with the reason."""
    report = _gradients_of_half_a_square(of)
    assert report.count("out_of_scope") == 2 and not report.findings
    assert not report.ok and "all out of scope" in str(report) and "a product with what overflowed" in str(report)


# --- suspicion -------------------------------------------------------------------------------------------------------


def test_false_alarm_line_is_the_normal_quantile_of_a_union_bound() -> None:
    assert 5 < false_alarm_line(1e-7, 1) < false_alarm_line(1e-7, 10**6) < 8
    for wrong in (0, 1, -0.5, math.nan):
        with pytest.raises(ValueError, match=f"false_alarm is {wrong}, expected a probability between 0 and 1"):
            refnn.check("relu", forward=refnn.relu, dtype=F32, false_alarm=wrong)
    with pytest.raises(ValueError, match=r"false_alarm is 0"):
        false_alarm_line(0, 1)


def test_a_small_bias_of_a_long_sum_is_suspect_though_inside_the_worst_case() -> None:
    rng = np.random.default_rng(3)
    x, w = rng.normal(size=(8, 4000)).astype(F32), rng.normal(size=(3, 4000)).astype(F32)

    def linear(scale: float) -> Any:
        return lambda x, weight, bias: ((x.astype("f8") @ weight.T.astype("f8")) * scale).astype(x.dtype)

    assert refnn.check("linear", forward=linear(1.0), inputs=(x, w)).ok
    report = refnn.check("linear", forward=linear(1 + 1e-4), inputs=(x, w))
    assert "suspect" in verdicts(report)
    repeated = np.ones_like(x)  # its roundings repeat, so nothing may be suspected
    assert "suspect" not in verdicts(refnn.check("linear", forward=linear(1 + 1e-4), inputs=(repeated, w)))


# --- selection, expectation, bad calls -------------------------------------------------------------------------------


def test_expected_failures_and_stale_ones() -> None:
    wrong = WRONG["diagonal only"]
    found = {f.case: "known" for f in run_softmax(*wrong).findings}
    assert found
    assert run_softmax(*wrong, expected_failures=found).ok
    stale = run_softmax(expected_failures=found)
    assert not stale.ok
    assert "no longer occurs" in str(stale)


def test_cases_come_back_by_id() -> None:
    for c in cases("cross_entropy", F32, families=["wide"], seed=5):
        again = refnn.case(c.id)
        assert again.id == c.id
        for a, b in zip((*c.inputs, c.cotangent), (*again.inputs, again.cotangent), strict=True):
            assert a is b is None or (a.dtype == b.dtype and a.tobytes() == b.tobytes())
    with pytest.raises(LookupError, match="no case has the id"):
        refnn.case("softmax/float32/normal/x=1x1/random/0")


def test_a_finding_replays() -> None:
    f = next(f for f in run_softmax(*WRONG["zeros"]).findings if f.verdict == "violation")
    again = refnn.check("softmax", forward=WRONG["zeros"][0], vjp=softmax_vjp, inputs=refnn.case(f.case))
    assert any((a.what, a.index, a.got) == (f.what, f.index, f.got) for a in again.findings)
    assert f"refnn.case({f.case!r})" in f.replay


def test_other_seeds_draw_other_numbers() -> None:
    a, b = (next(cases("tanh", F32, families=["normal"], seed=s, id="*x=7*")) for s in (0, 1))
    assert a.inputs[0].tobytes() != b.inputs[0].tobytes()


@pytest.mark.parametrize("name", OPS)
def test_cases_reach_every_family_layout_and_cotangent(name: str) -> None:
    found: list[Case] = list(cases(name, F32))
    op = refnn.ops[name]
    extra = {"special" for _ in op.special} | {"kinks" for v in op.variants if v.points}
    assert {c.family for c in found} == set(FAMILIES) | extra
    assert {c.id.split("/")[-2] for c in found if c.row is None} == set(COTANGENTS)
    assert {c.layout for c in found} == set(LAYOUTS)
    assert {c.cotangent_layout for c in found} == set(LAYOUTS) - {"broadcast"}
    drawn: dict[str, list[Case]] = {}
    for c in found:
        if c.row is None:
            drawn.setdefault(c.id.split("/")[3], []).append(c)
    # Each variant is judged by the expected error, its gradients, too.
    assert all(any(c.random and c.random_cotangent for c in of_one) for of_one in drawn.values())
    assert len({c.id for c in found}) == len(found)
    assert [c.id for c in found] == [c.id for c in cases(name, F32)]
    assert max(c.inputs[0].size for c in found) > 768


def test_a_large_case_is_judged_in_pieces_and_all_of_it() -> None:
    x = np.random.default_rng(0).normal(size=(400, 300)).astype(F32)
    bad = softmax(x)
    bad[399, 299] *= 2
    report = refnn.check("softmax", forward=lambda x, *, axis: bad, inputs=(x,))
    assert report.elements == x.size
    assert [f.index for f in report.findings] == [(399, 299)]


BAD_CALLS: dict[str, tuple[Any, str]] = {
    "unknown op": (lambda: refnn.check("sofmax", forward=softmax), "unknown op 'sofmax', did you mean 'softmax'"),
    "unknown dtype": (lambda: run_softmax(dtype="float8"), "dtype 'float8' is not one of"),
    "unknown family": (lambda: run_softmax(families=["normale"]), "unknown input family 'normale'"),
    "unknown parameter": (lambda: run_softmax(where={"dim": 1}), "softmax has no parameter 'dim'"),
    "unknown class": (lambda: run_softmax(algorithm="naive"), "no algorithm 'naive'"),
    "unknown model": (lambda: run_softmax(model="float24"), "model 'float24'"),
    "model of another dtype": (
        lambda: run_softmax(model="float64"),
        "stores float64, but the check runs in float32",
    ),
    "unknown framework": (lambda: refnn.check("softmax", softmax, framework="caffe"), "unknown framework 'caffe'"),
    "nothing given": (lambda: refnn.check("softmax"), "nothing to check"),
    "no framework": (lambda: refnn.check("softmax", softmax), "names no framework"),
    "no case": (lambda: run_softmax(where={"axis": 12345}), "nothing was checked"),
    "empty inputs": (lambda: run_softmax(inputs=[]), "empty list"),
    "inputs no tuple": (lambda: run_softmax(inputs=np.ones(3)), "expected a tuple of arrays"),
    "inputs of another dtype": (lambda: run_softmax(inputs=(np.ones(3),)), "has dtype float64, but the check runs in"),
    "cotangent of another shape": (
        lambda: run_softmax(inputs={"inputs": (np.ones(3, F32),), "cotangent": np.ones(4, F32)}),
        "the cotangent has shape (4,), expected that of the output, (3,)",
    ),
    "wrong rank": (lambda: refnn.linear(np.ones((2, 3)), np.ones(3)), "weight has shape (3,), expected (out, in)"),
    "shapes that do not fit": (
        lambda: refnn.linear(np.ones((2, 3)), np.ones((4, 5))),
        "x has shape (2, 3) and weight (4, 5)",
    ),
    "dtypes that differ": (
        lambda: refnn.linear(np.ones((2, 3)), np.ones((4, 3), F32)),
        "x is float64, weight is float32",
    ),
    "axis": (lambda: refnn.softmax(np.ones((2, 3)), axis=7), "axis is 7, expected an integer from -2 to 1"),
    "empty axis": (lambda: refnn.softmax(np.ones((2, 0))), "axis -1 of shape (2, 0) is empty"),
    "text": (lambda: refnn.softmax(np.array(["a"])), "x has dtype <U1"),
    "class index": (
        lambda: refnn.cross_entropy(np.ones((2, 3)), np.array([0, 9])),
        "target holds the class 9, expected 0 to 2",
    ),
    "smoothing": (
        lambda: refnn.cross_entropy(np.ones((2, 3)), np.array([0, 1]), label_smoothing=1.5),
        "label_smoothing is 1.5, expected a number from 0 to 1",
    ),
    "reduction": (
        lambda: refnn.mse_loss(np.ones(2), np.ones(2), reduction="avg"),
        "reduction is 'avg', expected one of",
    ),
    "keyword": (lambda: refnn.mse_loss(np.ones(2), np.ones(2), reducton="sum"), "did you mean 'reduction'"),
    "too few arrays": (lambda: refnn.mse_loss(np.ones(2)), "takes the arrays input, target, got 1"),
    "losses of two shapes": (
        lambda: refnn.mse_loss(np.ones(2), np.ones(3)),
        "input has shape (2,), target has shape (3,)",
    ),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_bad_calls_get_one_sentence(name: str) -> None:
    call, sentence = BAD_CALLS[name]
    with pytest.raises((TypeError, ValueError, LookupError)) as caught:
        call()
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


NONSENSE = object()
NO_PARAMETER = ("wrong", (1, 2, 3, 4, 5), -1, 0, 0.5, math.nan, None, True)


def refusals(op: Op, *values: Any) -> Iterator[tuple[str, str]]:
    """What is said where a parameter is one of these; where there is none of these, where an array has an axis more."""
    for case in cases(op, "float32", families=["normal"]):
        arrays = dict(zip(op.inputs, case.inputs, strict=True))
        wrong = [(p, arrays, {p: v}) for p in op.defaults for v in values]
        for name, x in arrays.items() if not values else ():
            wrong += [(name, {**arrays, name: y}, {}) for y in (() if x is None else (x[None], x[..., None]))]
        for name, inputs, params in wrong:
            try:
                op.bind(tuple(inputs.values()), {**case.params, **params})
            except (TypeError, ValueError) as e:
                yield name, str(e)


@pytest.mark.parametrize("name", OPS)
def test_a_refusal_names_the_op_and_what_is_wrong(name: str) -> None:
    op = OPS[name]
    of_nonsense = list(refusals(op, NONSENSE))
    assert {argument for argument, _ in of_nonsense} == {*op.defaults}
    for argument, sentence in of_nonsense:
        assert sentence.startswith(f"{name}: {argument}") and repr(NONSENSE) in sentence
    for _, sentence in (*refusals(op, *NO_PARAMETER), *refusals(op)):
        assert sentence.startswith(f"{name}: ") and "\n" not in sentence


def test_assert_conforms_raises_the_report() -> None:
    refnn.assert_conforms("softmax", forward=softmax, vjp=softmax_vjp, dtype=F32, families=["normal"])
    torch = pytest.importorskip("torch")
    refnn.assert_conforms("relu", torch.relu, framework="torch", dtype=F32, families=["normal"])
    with pytest.raises(AssertionError, match="relu"):
        refnn.assert_conforms("relu", torch.abs, framework="torch", dtype=F32, families=["normal"])
    with pytest.raises(AssertionError, match="softmax"):
        refnn.assert_conforms("softmax", forward=softmax, vjp=lambda g, x, *, axis: (g,), dtype=F32)


def test_verdicts_are_ordered_and_the_worst_one_counts() -> None:
    report = run_softmax(*WRONG["diagonal only"])
    assert report.verdict == "violation"
    assert VERDICTS.index(report.verdict) == max(VERDICTS.index(v) for v in VERDICTS if report.count(v))


def test_import_is_light() -> None:
    heavy = ("torch", "sympy", "jinja2", "rich", "typer", "matplotlib", "flint", "safetensors")
    wings = ("networks.train", "networks.datasets", "networks.zoo", "study", "suite", "teaching", "cli", "witnesses")
    code = f"import sys, refnn; print([m for m in {[*heavy, *(f'refnn.{w}' for w in wings)]!r} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


# --- with PyTorch and without it -------------------------------------------------------------------------------------


@pytest.mark.system("S79")
def test_pytorch_and_numpy_are_checked_alike() -> None:
    """The same function, and the same mistake, from either."""
    torch = pytest.importorskip("torch")
    few = {"dtype": F32, "families": ["normal", "grid"]}
    assert refnn.check("softmax", torch.nn.functional.softmax, framework="torch", **few).ok
    assert run_softmax().ok
    wrong = refnn.check("softmax", lambda x, dim: torch.softmax(-x, dim), framework="torch", **few)
    same = run_softmax(
        lambda x, *, axis: softmax(-x, axis=axis), lambda g, x, *, axis: (-softmax_vjp(g, -x, axis=axis)[0],)
    )
    assert wrong.verdict == same.verdict == "violation"
    assert {f.what for f in wrong.findings} == {f.what for f in same.findings} == {"output", "grad[x]"}


@pytest.mark.system("S79")
def test_without_pytorch_the_rest_works() -> None:
    code = (
        "import sys; sys.modules['torch'] = None; import refnn; op = refnn.softmax;"
        "print(refnn.check(op, forward=op, vjp=op.vjp, families=['normal']).ok);"
        "refnn.check(op, None, framework='torch')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "True\n"
    assert done.stderr.splitlines()[-1].startswith("LookupError: framework 'torch' is not installed (")
    assert done.stderr.splitlines()[-1].endswith("): pip install 'refnn[torch]'")
