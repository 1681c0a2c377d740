"""Mistakes in a record of one's own: each gets one sentence, before anything is checked."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import refnn
from refnn import Input, Op
from refnn.judging.families import WEIGHTS
from refnn.op import DRAWN, Drawn, Special, Sum, Variant
from refnn.variants import alone
from refnn.witnesses import record as record_of


def forward(ar: Any, x: Any, residual: Any, *, scale: float = 0.5) -> Any:
    return residual + ar.real(scale) * ar.relu(x)


def vjp(ar: Any, g: Any, y: Any, x: Any, residual: Any, *, scale: float = 0.5) -> Any:
    return ar.branch(x, g * ar.real(scale), 0), g


def validate(inputs: Any, params: Any) -> None:
    if inputs["x"].shape != inputs["residual"].shape:
        raise ValueError(f"x has shape {inputs['x'].shape}, residual {inputs['residual'].shape}")


def record(**changes: Any) -> Op:
    given: dict[str, Any] = {
        "name": "scaled_relu",
        "forward_definition": forward,
        "vjp_definition": vjp,
        "inputs": {"x": Input(), "residual": Input()},
        "validate": validate,
        "variants": (Variant({"x": (3, 5), "residual": (3, 5)}, {"scale": 0.3}),),
        "kinks": {"relu'(0)=0": 0.0, "relu'(0)=1": 1.0},
    }
    return Op(**{**given, **changes})


def check(op: Op) -> refnn.Report:
    return refnn.check(op, forward=op, vjp=op.vjp, dtype="float32")


def test_a_right_record_conforms_and_is_verified_once() -> None:
    op = record()
    assert check(op).ok
    assert check(op).elements > 100
    off = refnn.check(op, forward=lambda x, r, scale: op(x, r, scale=scale) + np.spacing(r) * 4, dtype="float32")
    assert "violation" in {f.verdict for f in off.findings}


def variant(**parts: Any) -> tuple[Any, ...]:
    return (Variant(**{"shapes": {"x": (3,), "residual": (3,)}, **parts}),)


def with_vjp(definition: Callable[..., Any]) -> Callable[[], Any]:
    def wrong(ar: Any, g: Any, y: Any, x: Any, residual: Any, *, scale: float = 0.5) -> Any:
        return definition(ar, g, y, x, residual, scale)

    return lambda: check(record(vjp_definition=wrong))


def with_forward(definition: Callable[..., Any]) -> Callable[[], Any]:
    def wrong(ar: Any, x: Any, residual: Any, *, scale: float = 0.5) -> Any:
        return definition(ar, x, residual, scale)

    return lambda: check(record(forward_definition=wrong))


def touching() -> Op:
    """A record that says of a sum over the rows that they do not touch each other."""

    def wrong(ar: Any, x: Any, residual: Any, *, scale: float = 0.5) -> Any:
        return residual + ar.sum(x, 0)

    return record(forward_definition=wrong, rowwise=lambda ndim, params: True)


MISTAKES: dict[str, tuple[Callable[[], Any], str]] = {
    "name": (lambda: record(name="scaled relu"), "op name 'scaled relu' is not an identifier"),
    "no variants": (lambda: record(variants=()), "has no variants: nothing would be checked"),
    "inputs": (lambda: record(inputs={"x": Input()}), "forward takes ['x', 'residual'], but its inputs are ['x']"),
    "shapes": (
        lambda: record(variants=variant(shapes={"x": (3,)})),
        "a variant has the shapes {'x': (3,)}, expected ['x', 'residual']",
    ),
    "parameter": (
        lambda: record(variants=variant(params={"slope": 1})),
        "a variant has the params {'slope': 1}, expected ['scale']",
    ),
    "no variant": (lambda: record(variants=("x",)), "a variant is 'x', expected refnn.Variant(shapes, params)"),
    "signature": (lambda: record(vjp_definition=lambda ar, g, y, x: (g, g)), "takes ['ar', 'g', 'y', 'x'], unlike"),
    "default": (
        lambda: record(vjp_definition=lambda ar, g, y, x, residual, *, scale=2.0: (g, g)),
        "has the defaults {'scale': 2.0}, unlike forward",
    ),
    "refused": (
        lambda: check(record(variants=variant(shapes={"x": (3, 5), "residual": (5,)}))),
        "validate refuses its own case scaled_relu/float64/normal/x=3x5,residual=5/",
    ),
    "kind": (lambda: check(record(inputs={"x": Input("reel"), "residual": Input()})), "kind 'reel' is not one of"),
    "classes of what": (
        lambda: record(inputs={"x": Input(), "residual": Input("classes")}),
        "an input of kind 'classes' must say which input its classes belong to: Input('classes', of=..., axis=-1)",
    ),
    "classes of nothing": (
        lambda: record(inputs={"x": Input(), "residual": Input("classes", of="logits")}),
        "op 'scaled_relu': residual holds classes of 'logits', which is not one of its inputs",
    ),
    "ignored by nothing": (
        lambda: record(inputs={"x": Input(), "residual": Input("classes", of="x", ignored="skip")}),
        "op 'scaled_relu': residual is ignored at 'skip', which is not one of its parameters",
    ),
    "no primitive": (
        with_forward(lambda ar, x, r, s: ar.gelu(x) + r),
        "no case can be drawn, AttributeError: 'Floats' object has no attribute 'gelu'",
    ),
    "float literal": (with_forward(lambda ar, x, r, s: r + 0.5 * ar.relu(x)), "expected an integer or ar.real(...)"),
    "comparison": (with_forward(lambda ar, x, r, s: r + x * (x > 0)), "the forward raised TypeError in Balls"),
    "bare gradient": (with_vjp(lambda ar, g, y, x, r, s: g), "the vjp returns a ndarray, expected a tuple of 2"),
    "one gradient": (with_vjp(lambda ar, g, y, x, r, s: (g,)), "the vjp returns a tuple of 1, expected a tuple of 2"),
    "shape": (
        with_vjp(lambda ar, g, y, x, r, s: (g, ar.sum(g, 0))),
        "the gradient for residual has shape (5,), expected (3, 5)",
    ),
    "no gradient": (with_vjp(lambda ar, g, y, x, r, s: (g, None)), "the gradient for residual has shape None"),
    "derivative": (
        with_vjp(lambda ar, g, y, x, r, s: (ar.branch(x, g, 0), g)),
        "but the derivative of the forward is",
    ),
    "always at a kink": (
        with_forward(lambda ar, x, r, s: r + ar.relu(x - x)),
        "the complex step finds no derivative for x anywhere in scaled_relu/float64/normal/",
    ),
    "rows": (
        lambda: check(touching()),
        "accurate: rowwise does not hold, row by row the output[0, 0] is ",
    ),
    "no rows": (
        lambda: check(replace(total(None), rowwise=lambda ndim, params: True, summed=lambda params: None)),
        "rowwise speaks of rows, but results and inputs have the shapes [(), (4, 3)]",
    ),
    "row": (
        lambda: record(special=(Special(([1.0], [2.0]), [None], ([None], None), "nothing"),)),
        "the row ([1.0], [2.0]) of special values asks for nothing",
    ),
    "class": (
        lambda: check(replace(record(), algorithms={"other": (forward, with_scale_forgotten)})),
        "op 'scaled_relu', other: the vjp gives",
    ),
}


def language_loss(axis: int, shapes: dict[str, Any], **parameter: int) -> Op:
    """The mean cross-entropy of labels whose classes are on an axis; with a parameter, labels of that value count
    nothing, but in the number that the mean divides by."""
    log_softmax = refnn.ops["log_softmax"].forward_definition

    def losses(ar: Any, logits: Any, labels: Any, pad: int | None) -> tuple[Any, Any]:
        valid = labels != pad
        own = ar.take(log_softmax(ar, logits, axis=axis), valid * labels, axis % logits.ndim)
        return ar.where(valid, -own, 0), valid

    def slopes(ar: Any, g: Any, logits: Any, labels: Any, pad: int | None) -> Any:
        valid = labels != pad
        place, classes = axis % logits.ndim, logits.shape[axis % logits.ndim]
        p = ar.exp(log_softmax(ar, logits, axis=axis))
        gx = ar.product(p - ar.one_hot(valid * labels, classes, place), g, over=labels.size)
        return ar.where(np.expand_dims(valid, place), gx, 0), None

    def plain(ar: Any, logits: Any, labels: Any) -> Any:
        return ar.sum(losses(ar, logits, labels, None)[0]) / labels.size

    def plain_vjp(ar: Any, g: Any, y: Any, logits: Any, labels: Any) -> Any:
        return slopes(ar, g, logits, labels, None)

    def padded(ar: Any, logits: Any, labels: Any, *, pad: int = 0) -> Any:
        return ar.sum(losses(ar, logits, labels, pad)[0]) / labels.size

    def padded_vjp(ar: Any, g: Any, y: Any, logits: Any, labels: Any, *, pad: int = 0) -> Any:
        return slopes(ar, g, logits, labels, pad)

    ignored = next(iter(parameter), None)
    return Op(
        "language_loss",
        padded if parameter else plain,
        padded_vjp if parameter else plain_vjp,
        {"logits": Input(), "labels": Input("classes", differentiable=False, of="logits", axis=axis, ignored=ignored)},
        lambda inputs, params: None,
        (Variant(shapes, parameter),),
    )


@pytest.mark.parametrize("parameter", [{}, {"pad": 3}], ids=["plain", "padded"])
@pytest.mark.parametrize("axis", [-1, 0, 1, 2])
def test_classes_may_be_on_any_axis(axis: int, parameter: dict[str, int]) -> None:
    """Logits (N, T, C) of a language model among them; labels are drawn from every class, and no others."""
    shape = (5, 6, 4)
    op = language_loss(axis, {"logits": shape, "labels": tuple(np.delete(shape, axis).tolist())}, **parameter)
    assert refnn.check(op, forward=op, vjp=op.vjp, dtype="float64").ok
    labels = np.concatenate([np.ravel(c.inputs[1]) for c in refnn.cases(op, "float32")])  # type: ignore[arg-type]
    assert set(labels.tolist()) == {*range(shape[axis]), *parameter.values()}
    share = np.mean(labels == 3)
    assert not parameter or share > 1.3 / shape[axis]


def test_a_target_is_what_its_shape_says() -> None:
    """Probabilities in the shape of the input, adding up on the axis of the classes; classes without that axis."""
    target = Input("target", of="input", axis=-1)
    op = replace(
        refnn.ops["cross_entropy"],
        inputs={"input": Input(), "target": target},
        variants=tuple(
            Variant({"input": (4, 3, 3), "target": shape}, {"reduction": "sum"}) for shape in ((4, 3, 3), (4, 3))
        ),
    )
    p, k = (c.inputs[1] for c in refnn.cases(alone(op), "float64", families=["normal"]))
    assert p is not None
    assert k is not None
    assert (p >= 0).all()
    assert np.ptp(p.sum(-1)) < 2.0**-50 < np.ptp(p.sum(1))  # one sum for all, but for 7 roundings of each
    assert {*k.ravel().tolist()} == {0, 1, 2}


def scaled(variants: Sequence[Variant]) -> Op:
    """x times an array, of which a word says what is kept."""

    def forward(ar: Any, x: Any, *, part: str = "all", by: Any = None) -> Any:
        y = x if by is None else x * ar.array(by)
        return {"all": lambda v: v, "positive": ar.relu, "negative": lambda v: -ar.relu(-v)}[part](y)

    def vjp(ar: Any, g: Any, y: Any, x: Any, *, part: str = "all", by: Any = None) -> Any:
        gx = g if by is None else g * ar.array(by)
        inside = x if by is None else x * ar.array(by)
        return ({"all": gx, "positive": ar.branch(inside, gx, 0), "negative": ar.branch(inside, 0, gx)}[part],)

    return Op("scaled", forward, vjp, {"x": Input()}, lambda inputs, params: None, tuple(variants))


def test_a_word_stays_a_word_and_what_is_to_be_drawn_says_so() -> None:
    """A parameter may be called "positive"; only `Drawn` becomes an array."""
    given: tuple[dict[str, Any], ...] = (
        {"part": "positive"},
        {"part": "negative", "by": Drawn("negative", axis=-1)},
        {"by": Drawn("positive", along=(0, -1))},
        {"by": Drawn("zeros and negatives", along=(1,))},
    )
    op = alone(scaled([Variant({"x": (5, 7, 3)}, params) for params in given]))
    assert refnn.check(op, forward=op, vjp=op.vjp, dtype="float32", families=["normal"]).ok
    found = list(refnn.cases(op, "float32", families=["normal"]))
    assert [c.params["part"] for c in found] == ["positive", "negative", "all", "all"]
    assert [np.shape(c.params["by"]) for c in found] == [(), (3,), (5, 1, 3), (7, 1)]
    assert (found[1].params["by"] < 0).all()
    assert (found[2].params["by"] > 0).all()
    assert {*found[3].params["by"].ravel().tolist()} > {0.0, -1.0}
    assert [c.id.split("/")[3] for c in found][1:3] == [
        "x=5x7x3,part=negative,by=negative",
        "x=5x7x3,by=positive-along-0--1",
    ]
    assert {*WEIGHTS} == {*DRAWN}


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda: Drawn("positif", axis=0),
            "the kind of a drawn parameter is 'positif', expected one of positive, negative,",
        ),
        (lambda: Drawn("positive"), "Drawn('positive') has axis None and along (), expected one of the two"),
        (
            lambda: Drawn("positive", 1, (0,)),
            "Drawn('positive') has axis 1 and along (0,), expected one of the two",
        ),
    ],
)
def test_a_wrong_marker_is_one_sentence(call: Callable[[], Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        call()


def total(over: Callable[..., Any] | None, *, touching: bool = False) -> Op:
    """The mean of x squared over its rows, which says that it divides by `over`."""

    def forward(ar: Any, x: Any, *, mean: bool = True) -> Any:
        losses = ar.sum(x**2, 1)
        return ar.sum(losses) / x.shape[0] if mean else losses * ar.sum(losses) if touching else losses

    def vjp(ar: Any, g: Any, y: Any, x: Any, *, mean: bool = True) -> Any:
        return (ar.product(2, x, g if mean else g.reshape(-1, 1), over=x.shape[0] if mean else None),)

    return Op(
        "mean_square",
        forward,
        vjp,
        {"x": Input()},
        lambda inputs, params: None,
        (Variant({"x": (4, 3)}),),
        rowwise=lambda ndim, params: not params["mean"],
        summed=lambda params: Sum({"mean": False}, over) if params["mean"] else None,
    )


@pytest.mark.parametrize("name", refnn.ops)
def test_what_the_catalogue_says_of_rows_holds_in_every_class(name: str) -> None:
    """Ignored samples alone included, whose mean is NaN by rows and as a whole."""
    op = refnn.ops[name]
    for algorithm in ("accurate", *op.algorithms):
        for case in refnn.cases(op, "float64", families=["normal"]):
            if case.elements <= record_of.SMALL:
                record_of._splits(case, algorithm)


def test_what_a_record_says_of_its_samples_is_tried() -> None:
    right = total(lambda ar, x, **params: x.shape[0])
    assert refnn.check(right, forward=right, vjp=right.vjp, dtype="float64").ok
    for wrong in (total(None), total(lambda ar, x, **params: 1 + x.shape[0])):
        with pytest.raises(ValueError, match=r"accurate: summed does not hold, row by row the output is .* as a whole"):
            refnn.check(wrong, forward=wrong, vjp=wrong.vjp, dtype="float64")
    with pytest.raises(ValueError, match=r"summed does not hold"):
        check(total(lambda ar, x, **params: x.shape[0], touching=True))


def with_scale_forgotten(ar: Any, g: Any, y: Any, x: Any, residual: Any, *, scale: float = 0.5) -> Any:
    return ar.branch(x, g, 0), g


@pytest.mark.parametrize("what", MISTAKES)
def test_a_mistake_in_a_record_is_one_sentence(what: str) -> None:
    call, sentence = MISTAKES[what]
    with pytest.raises((TypeError, ValueError)) as caught:
        call()
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
