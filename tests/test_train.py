"""Training: one step, the three forms of gradient descent, decay, dropout, and what must not be lost.

Where it can, the arithmetic is exact: parameters and data are small integers, rates and sizes of batches powers of two.
Then every order of the sums gives the same bits, and PyTorch's autograd and optimizer are compared to the bit.
"""

from __future__ import annotations

import dataclasses
import io
import itertools
import math
import os
import re
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest
import torch

import refnn
from refnn.arithmetic.exact import Fractions
from refnn.networks import datasets, zoo
from refnn.networks.network import Network, Node
from refnn.networks.train import (
    HEADS,
    Params,
    evaluate,
    gradient_descent,
    loss,
    loss_over_outputs,
    predict,
    split,
    train,
    without_dropout,
)
from refnn.ops import find
from refnn.report.svg import plot
from refnn.teaching.regression import least_squares

LAYER = Network([Node("fc", "linear", ("x", "fc.weight", "fc.bias"))])
HIDDEN = Network(
    [
        Node("fc1", "linear", ("x", "fc1.weight", "fc1.bias")),
        Node("relu", "relu", ("fc1",)),
        Node("fc2", "linear", ("relu", "fc2.weight", "fc2.bias")),
    ]
)
DROPPING = Network(
    [
        Node("fc1", "linear", ("x", "fc1.weight", "fc1.bias")),
        Node("relu", "relu", ("fc1",)),
        Node("drop", "dropout", ("relu", "mask"), {"p": 0.5}),
        Node("fc2", "linear", ("drop", "fc2.weight", "fc2.bias")),
    ],
    inputs=("x", "mask"),
    shapes={"x": (3,), "mask": (4,)},
)


def integers(seed: int, *shape: int) -> np.ndarray:
    """Small integers as float64."""
    return np.random.default_rng(seed).integers(-3, 4, shape).astype(np.float64)


def start(net: Network, width: int = 4) -> dict[str, np.ndarray]:
    if net is LAYER:
        return {"fc.weight": integers(1, 2, 3), "fc.bias": integers(2, 2)}
    first = {"fc1.weight": integers(1, width, 3), "fc1.bias": integers(2, width)}
    return first | {"fc2.weight": integers(3, 2, width), "fc2.bias": integers(4, 2)}


class ByTorch:
    """The same training in PyTorch: its functions, its autograd, its optimizer; mean over the samples, 1/2 square."""

    def __init__(self, params: Params, rate: float, weight_decay: float = 0.0) -> None:
        self.params = {k: torch.tensor(v, requires_grad=True) for k, v in params.items()}
        groups = [
            {"params": [v for k, v in self.params.items() if k.endswith("weight")], "weight_decay": weight_decay},
            {"params": [v for k, v in self.params.items() if k.endswith("bias")], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.SGD(groups, lr=rate)

    def forward(self, x: np.ndarray, mask: np.ndarray | None = None) -> torch.Tensor:
        a = torch.tensor(x)
        for k, layer in enumerate(sorted({name.split(".")[0] for name in self.params})):
            if k:
                a = torch.relu(a)
            if k and mask is not None:
                a = a * torch.tensor(mask) * 2  # 1/(1 - p) at p = 1/2
            a = torch.nn.functional.linear(a, self.params[f"{layer}.weight"], self.params[f"{layer}.bias"])
        return a

    def step(self, x: np.ndarray, target: np.ndarray, mask: np.ndarray | None = None) -> float:
        self.optimizer.zero_grad()
        value = ((self.forward(x, mask) - torch.tensor(target)) ** 2).sum() / 2 / len(x)
        value.backward()
        self.optimizer.step()
        return float(value.detach())

    def same(self, params: Params) -> bool:
        return all(np.array_equal(v.detach().numpy(), params[k]) for k, v in self.params.items())


# --- one step, and the three forms -----------------------------------------------------------------------------------


@pytest.mark.system("S12")
@pytest.mark.parametrize("net", [LAYER, HIDDEN], ids=["one layer", "two layers"])
def test_one_update_is_minus_rate_times_gradient(net: Network) -> None:
    """Stochastic gradient descent: one update for every sample, in the order that the seed draws."""
    samples = 3 if net is LAYER else 1  # more updates of two layers would round
    x, target = integers(5, samples, 3), integers(6, samples, 2)
    by_torch = ByTorch(start(net), rate=0.25)
    values = [by_torch.step(x[[k]], target[[k]]) for k in np.random.default_rng(8).permutation(samples)]
    learned = train(net, start(net), x, target, head="linear", rates=[0.25], batch=1, seed=8)
    assert learned.trace == values
    assert by_torch.same(learned.params) and not by_torch.same(start(net))


@pytest.mark.system("S13")
@pytest.mark.parametrize("net", [LAYER, HIDDEN], ids=["one layer", "two layers"])
def test_a_batch_moves_by_the_mean_of_the_gradients_of_its_samples(net: Network) -> None:
    x, target, params = integers(5, 4, 3), integers(6, 4, 2), start(net)
    whole = train(net, params, x, target, head="linear", rates=[0.25])
    single = [train(net, params, x[[k]], target[[k]], head="linear", rates=[0.25]) for k in range(4)]
    for name, old in params.items():
        assert np.array_equal(whole.params[name] - old, sum(s.params[name] - old for s in single) / 4)
    assert whole.trace == [sum(s.trace[0] for s in single) / 4]
    by_torch = ByTorch(params, rate=0.25)
    assert whole.trace == [by_torch.step(x, target)]
    assert by_torch.same(whole.params)


@pytest.mark.parametrize(("batch", "sizes"), [(1, [1] * 7), (2, [3, 2, 2]), (3, [4, 3]), (4, [7]), (None, [7])])
def test_an_epoch_takes_every_sample_once(batch: int | None, sizes: list[int]) -> None:
    seen: list[list[int]] = []

    def objective(params: Params, chosen: np.ndarray) -> tuple[float, Params]:
        seen.append(chosen.tolist())
        return 0.0, params

    learned = gradient_descent(objective, {"w": 1.0}, 7, rates=[0, 0], batch=batch, seed=3)
    assert [len(s) for s in seen] == sizes * 2 and learned.per_epoch == len(sizes)
    first, second = (list(itertools.chain(*epoch)) for epoch in (seen[: len(sizes)], seen[len(sizes) :]))
    assert sorted(first) == sorted(second) == list(range(7)) and first != second


def test_the_loop_is_mini_batch_gradient_descent() -> None:
    """The digits network against the rule written out, to the bit: batches of 33 and 34, all parameters decay."""
    net, digits = zoo.initial("digits_mlp"), datasets.load("digits")
    images, labels = digits.x[:100], digits.target[:100]
    begin = {k: v.astype(np.float64) for k, v in net.weights["initial"].items()}
    params, order = begin, np.random.default_rng(7)
    for rate in (0.5, 0.25):
        for batch in np.array_split(order.permutation(100), 3):
            run = net.forward(params, images[batch])
            d, _ = find("cross_entropy").vjp(np.float64(1), run.output, labels[batch], reduction="sum")
            assert d is not None
            grads = net.backward(run, d / len(batch))
            params = {k: v - rate * (grads[k] + 0.01 * v) for k, v in params.items()}
    learned = train(
        net, begin, images, labels, head="softmax", rates=(0.5, 0.25), batch=32, weight_decay=0.01,
        decayed=net.parameters, seed=7,
    )  # fmt: skip
    assert not learned.stopped and learned.per_epoch == 3 and len(learned.trace) == 6
    assert learned.epochs == [sum(learned.trace[:3]) / 3, sum(learned.trace[3:]) / 3]
    assert all(np.array_equal(learned.params[k], v) for k, v in params.items())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_run_is_reproducible_from_its_seed_and_keeps_the_dtype(dtype: str) -> None:
    """The rates may be NumPy's: float64 numbers, which would make more of float32 parameters."""
    x, target = integers(5, 9, 3).astype(dtype), integers(6, 9, 2).astype(dtype)
    params = {k: v.astype(dtype) for k, v in start(DROPPING).items()}
    net = Network(DROPPING.nodes, inputs=("mask", "x"), shapes=DROPPING.shapes)

    def run(seed: int) -> Any:
        return train(
            net, params, x, target, head="linear", rates=np.linspace(0.01, 0.02, 3), batch=2,
            weight_decay=np.float64(0.1), seed=seed,
        )  # fmt: skip

    one, same, other = run(1), run(1), run(2)
    assert one.trace == same.trace and one.trace != other.trace
    assert all(np.array_equal(v, same.params[k]) and v.dtype == dtype for k, v in one.params.items())


# --- weight decay ----------------------------------------------------------------------------------------------------


@pytest.mark.system("S45")
@pytest.mark.parametrize("samples", [1, 4])
def test_weights_decay_once_a_step_and_biases_do_not(samples: int) -> None:
    """The gradient of J + lambda/2 sum w^2 by autograd; PyTorch's optimizer adds lambda w to a group of parameters."""
    x, target, params = integers(5, samples, 3), integers(6, samples, 2), start(HIDDEN)
    learned = train(HIDDEN, params, x, target, head="linear", rates=[0.25], weight_decay=0.5)
    by_optimizer = ByTorch(params, rate=0.25, weight_decay=0.5)
    plain = by_optimizer.step(x, target)
    assert by_optimizer.same(learned.params)
    penalty = sum(0.25 * float(np.sum(params[k] ** 2)) for k in ("fc1.weight", "fc2.weight"))
    assert penalty and learned.trace == [plain + penalty]
    by_penalty = ByTorch(params, rate=0.25)
    weights = [by_penalty.params[k] for k in ("fc1.weight", "fc2.weight")]
    value = ((by_penalty.forward(x) - torch.tensor(target)) ** 2).sum() / 2 / samples + sum(
        0.25 * (w**2).sum() for w in weights
    )
    value.backward()  # type: ignore[union-attr]
    for name, tensor in by_penalty.params.items():
        assert tensor.grad is not None
        assert np.array_equal(learned.params[name], params[name] - 0.25 * tensor.grad.numpy())


def test_a_bias_of_three_axes_does_not_decay() -> None:
    net = Network([Node("lc", "locally_connected2d", ("x", "lc.weight", "lc.bias"))])
    params = {"lc.weight": np.ones((1, 1, 1, 1, 1, 1)), "lc.bias": np.ones((1, 1, 1))}
    x, target = np.ones((1, 1, 1, 1)), np.full((1, 1, 1, 1), 2.0)
    learned = train(net, params, x, target, head="linear", rates=[0.5], weight_decay=0.5).params
    assert learned["lc.weight"] == 0.75 and learned["lc.bias"] == 1


def test_a_slope_named_weight_does_not_decay() -> None:
    net = Network([Node("fc", "linear", ("x", "fc.weight")), Node("act", "prelu", ("fc", "act.weight"))])
    params = {"fc.weight": np.ones((1, 1)), "act.weight": np.array([0.25])}
    learned = train(net, params, np.ones((1, 1)), np.ones((1, 1)), head="linear", rates=[0.5], weight_decay=0.5)
    assert learned.params["fc.weight"] == 0.75 and learned.params["act.weight"] == 0.25


# --- dropout ---------------------------------------------------------------------------------------------------------


class Watched(Network):
    """A network that remembers what it was given."""

    given: list[tuple[np.ndarray, ...]]

    def forward(self, params: Params, *inputs: np.ndarray) -> Any:
        self.given = [*getattr(self, "given", []), inputs]
        return super().forward(params, *inputs)


def watched(p: float, width: int = 4) -> Watched:
    nodes = [Node(n.name, n.op, n.inputs, {"p": p} if n.op == "dropout" else {}) for n in DROPPING.nodes]
    return Watched(nodes, inputs=DROPPING.inputs, shapes={"x": (3,), "mask": (width,)})


@pytest.mark.system("S20")
def test_dropout_is_inverted_and_its_mask_is_used_again_backward() -> None:
    """The update with the masks that were drawn is that of PyTorch with x D / (1 - p) written out."""
    x, target, params = integers(5, 4, 3), integers(6, 4, 2), start(DROPPING)
    net = watched(0.5)
    learned = train(net, params, x, target, head="linear", rates=[0.25], seed=3)
    ((shuffled, mask),) = net.given
    place = [x.tolist().index(row) for row in shuffled.tolist()]
    assert sorted(place) == [0, 1, 2, 3] and 0 < mask.sum() < mask.size
    by_torch = ByTorch(params, rate=0.25)
    assert learned.trace == [by_torch.step(shuffled, target[place], mask)]
    assert by_torch.same(learned.params)


@pytest.mark.system("S20")
def test_masks_keep_each_value_with_probability_one_minus_p() -> None:
    """So many draws are off by more than this once in ten million times (Hoeffding 1963). A mask goes for one step."""
    width, samples = 64, 256
    for p in (0.0, 0.25, 0.9, 1.0):
        net = watched(p, width)
        zeros = {k: np.zeros_like(v) for k, v in start(DROPPING, width).items()}
        train(net, zeros, np.zeros((samples, 3)), np.zeros((samples, 2)), head="linear", rates=[1.0] * 4)
        masks = [mask for _, mask in net.given]
        assert all(mask.shape == (samples, width) for mask in masks) and len(masks) == 4
        draws = np.stack(masks)
        assert set(np.unique(draws)) <= {0.0, 1.0}
        assert abs(draws.mean() - (1 - p)) <= (0 if p in (0, 1) else math.sqrt(math.log(2e7) / (2 * draws.size)))
        other = watched(p, width)
        train(other, zeros, np.zeros((samples, 3)), np.zeros((samples, 2)), head="linear", rates=[1.0], seed=1)
        for drawn in (masks[1], other.given[0][1]):
            assert p in (0, 1) or not np.array_equal(masks[0], drawn)


@pytest.mark.system("S20")
def test_the_mean_over_all_masks_is_the_identity() -> None:
    """Exactly, in fractions, forward and backward: the sum over all masks, each with its probability."""
    op, ar, p = refnn.ops["dropout"], Fractions(), Fraction(1, 4)
    x, g = ar.array(np.array([1.0, -1.0, 2.0, 0.5])), ar.array(np.array([1.0, 2.0, 3.0, 4.0]))
    forward, backward = 0 * x, 0 * x
    for bits in itertools.product((0, 1), repeat=4):
        mask, chance = ar.array(np.array(bits)), p ** (4 - sum(bits)) * (1 - p) ** sum(bits)
        y = op.forward_definition(ar, x, mask, p=0.25)
        forward = forward + chance * y
        backward = backward + chance * op.vjp_definition(ar, g, y, x, mask, p=0.25)[0]
    assert (forward == x).all() and (backward == g).all()


@pytest.mark.system("S20")
def test_the_gradient_of_the_worked_example_of_dropout() -> None:
    """challa2023 (variable D) with ReLU: a = (1, -1, 2, 1/2), D = (1, 1, 0, 1), p = 1/4."""
    net = Network(
        [Node("relu", "relu", ("x",)), Node("drop", "dropout", ("relu", "mask"), {"p": 0.25})], inputs=("x", "mask")
    )
    ar = Fractions()
    a, mask = ar.array(np.array([1.0, -1.0, 2.0, 0.5])), ar.array(np.array([1.0, 1.0, 0.0, 1.0]))
    x = refnn.ops["relu"].forward_definition(ar, a)
    y = net.op.forward_definition(ar, a, mask)
    g = ar.array(np.array([1.0, 2.0, 3.0, 4.0]))
    (gx, _) = refnn.ops["dropout"].vjp_definition(ar, g, y, x, mask, p=0.25)
    (ga,) = refnn.ops["relu"].vjp_definition(ar, gx, x, a)
    assert ga.tolist() == [Fraction(4, 3), 0, 0, Fraction(16, 3)]
    assert y.tolist() == [Fraction(4, 3), 0, 0, Fraction(2, 3)]


@pytest.mark.system("S20")
def test_evaluation_is_the_network_without_dropout() -> None:
    x, target, params = integers(5, 4, 3), integers(6, 4, 2), start(DROPPING)
    plain = without_dropout(DROPPING)
    assert plain.inputs == ("x",) and [n.op for n in plain.nodes] == ["linear", "relu", "linear"]
    assert plain.parameters == DROPPING.parameters
    expected = HIDDEN.forward(params, x).output
    assert np.array_equal(predict(DROPPING, params, x, head="linear"), expected)
    by_torch = ByTorch(params, rate=0.25)
    assert evaluate(DROPPING, params, x, target, head="linear") == by_torch.step(x, target)


def test_dropout_at_either_end_and_twice() -> None:
    nodes = [
        Node("first", "dropout", ("x", "m1"), {"p": 0.5}),
        Node("again", "dropout", ("first", "m2"), {"p": 0.5}),
        Node("fc", "linear", ("again", "fc.weight")),
        Node("last", "dropout", ("fc", "m3"), {"p": 0.5}),
    ]
    net = Network(nodes, inputs=("x", "m1", "m2", "m3"), shapes={"m1": (3,), "m2": (3,), "m3": (2,)})
    plain = without_dropout(net)
    assert plain.nodes == (Node("fc", "linear", ("x", "fc.weight")),) and plain.inputs == ("x",)


# --- heads -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", HEADS)
def test_d_is_y_minus_t(head: str) -> None:
    """As far as two ways of computing it may differ: the certified truth of each head, and its allowance."""
    rng = np.random.default_rng(4)
    a = rng.normal(size=(6, 5))
    t = np.eye(5)[rng.integers(0, 5, 6)] if head != "linear" else rng.normal(size=(6, 5))
    value, d = loss(head, a, t)
    y = {"softmax": mpmath_softmax, "logistic": mpmath_logistic, "linear": lambda row: [mpmath.mpf(v) for v in row]}
    allowed = refnn.allowance(HEADS[head].loss, a, t, cotangent=np.float64(1), reduction="sum").grads[0]
    assert allowed is not None
    with mpmath.workdps(40):
        for k in range(6):
            for j, exact in enumerate(y[head](a[k])):
                assert abs(exact - mpmath.mpf(t[k, j]) - mpmath.mpf(d[k, j])) <= allowed.worst[k, j]
    assert value == find(HEADS[head].loss)(a, t, reduction="sum") / 6
    output = {"softmax": "softmax", "logistic": "sigmoid", "linear": "flatten"}[head]  # which is exact
    own = refnn.allowance(output, a, **({"axis": 1} if head == "softmax" else {})).output.worst
    got = predict(LAYER, {"fc.weight": np.eye(5), "fc.bias": np.zeros(5)}, a, head=head)
    with mpmath.workdps(40):
        for k in range(6):
            assert all(abs(e - mpmath.mpf(v)) <= w for e, v, w in zip(y[head](a[k]), got[k], own[k], strict=True))


def test_softmax_is_over_the_classes_of_every_pixel() -> None:
    a = np.random.default_rng(5).normal(size=(2, 3, 4, 4))
    net = Network([Node("conv", "conv2d", ("x", "conv.weight"))])
    y = predict(net, {"conv.weight": np.eye(3).reshape(3, 3, 1, 1)}, a, head="softmax")
    for n, r, c in np.ndindex(2, 4, 4):
        alone = predict(LAYER, {"fc.weight": np.eye(3), "fc.bias": np.zeros(3)}, a[[n], :, r, c], head="softmax")
        worst = refnn.allowance("softmax", a[[n], :, r, c], axis=1).output.worst
        assert (np.abs(y[n, :, r, c] - alone[0]) <= 2 * worst[0]).all()


def mpmath_softmax(row: Sequence[float]) -> list[Any]:
    exponentials = [mpmath.exp(v) for v in row]
    return [e / mpmath.fsum(exponentials) for e in exponentials]


def mpmath_logistic(row: Sequence[float]) -> list[Any]:
    return [1 / (1 + mpmath.exp(-mpmath.mpf(v))) for v in row]


@pytest.mark.system("S6")
def test_the_loss_of_challa2022_is_one_mth_of_the_other() -> None:
    """challa2022 (1) as a literal sum, with its 1/M, on S = 2 samples of M = 4 outputs, whose quotients are exact."""
    a, t = np.random.default_rng(9).normal(size=(2, 4)), np.array([[0, 0.25, 0.5, 0.25], [1, 0, 0, 0]])
    value, d = loss_over_outputs(a, t)
    other, y_minus_t = loss("softmax", a, t)
    assert value == other / 4 and np.array_equal(d, y_minus_t / 4)
    allowed = refnn.allowance("cross_entropy", a, t, cotangent=np.float64(1), reduction="sum")
    assert allowed.grads[0] is not None
    with mpmath.workdps(40):
        y = [mpmath_softmax(row) for row in a]
        literal = -mpmath.fsum(
            mpmath.fsum(t[k, j] * mpmath.log(y[k][j]) for j in range(4)) / 4 for k in range(2)
        ) / 2  # fmt: skip
        assert abs(literal - mpmath.mpf(value)) <= allowed.output.worst / 8
        for k, j in np.ndindex(2, 4):
            assert abs((y[k][j] - t[k, j]) / 4 - mpmath.mpf(d[k, j])) <= allowed.grads[0].worst[k, j] / 4


# --- splits ----------------------------------------------------------------------------------------------------------


@pytest.mark.system("S29")
@pytest.mark.parametrize("samples", [5, 6, 9, 15, 1797])
def test_a_split_is_disjoint_exhaustive_and_a_fifth(samples: int) -> None:
    to_train, to_evaluate = split(samples, seed=1)
    assert set(to_train) | set(to_evaluate) == set(range(samples)) and not set(to_train) & set(to_evaluate)
    assert len(to_train) + len(to_evaluate) == samples and len(to_evaluate) == samples // 5
    again, _ = split(samples, seed=1)
    assert np.array_equal(to_train, again)
    assert len({tuple(split(samples, seed)[1]) for seed in range(20)}) > 1


# --- nothing is lost -------------------------------------------------------------------------------------------------

X, Y = np.array([[1.0], [2.0], [4.0]]), np.array([3.0, 1.0, 5.0])
ZEROS = {"w": np.zeros(1), "b": np.float64(0)}


def test_what_diverges_stops_at_the_step_and_keeps_the_last_finite_parameters() -> None:
    many = [0.5] * 2000
    learned = gradient_descent(least_squares(X, Y), ZEROS, 3, rates=many)
    step = len(learned.trace) - 1
    assert 10 < step < 1999
    assert learned.stopped == (
        f"diverged in step {step}, epoch {step}, at the learning rate 0.5: the objective is {learned.trace[-1]}"
    )
    assert not np.isfinite(learned.trace[-1]) and np.isfinite(learned.trace[:-1]).all()
    before = gradient_descent(least_squares(X, Y), ZEROS, 3, rates=many[:step])
    assert not before.stopped and before.trace == learned.trace[:-1]
    assert all(np.isfinite(v).all() and np.array_equal(v, before.params[k]) for k, v in learned.params.items())


def test_parameters_that_overflow_are_not_taken_over() -> None:
    """The objective is still finite there, the step is not."""
    learned = gradient_descent(
        lambda p, chosen: (1.0, {"w": np.float64(1e200)}), {"w": np.float64(1)}, 1, rates=[1e200]
    )
    assert learned.params == {"w": 1} and learned.trace == [1.0]
    assert learned.stopped.endswith("at the learning rate 1e+200: the new parameters are not finite")


def test_a_network_that_diverges_says_so() -> None:
    net, digits = zoo.initial("digits_mlp"), datasets.load("digits")
    params = {k: v.astype(np.float64) for k, v in net.weights["initial"].items()}
    learned = train(net, params, digits.x[:50], digits.target[:50], head="softmax", rates=[1e150] * 9, batch=5)
    assert learned.stopped.startswith(f"diverged in step {len(learned.trace) - 1}, epoch 0")
    assert all(np.isfinite(v).all() for v in learned.params.values())


@pytest.fixture
def _ctrl_c() -> Iterator[None]:
    """Ctrl-C as a program has it; the workers of pytest-xdist ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_ctrl_c")
@pytest.mark.parametrize("steps", [0, 3])
def test_ctrl_c_keeps_what_was_learned(steps: int) -> None:
    objective, calls = least_squares(X, Y), itertools.count()

    def impatient(params: Params, chosen: np.ndarray) -> tuple[Any, Params]:
        if next(calls) == steps:
            os.kill(os.getpid(), signal.SIGINT)
        return objective(params, chosen)

    learned = gradient_descent(impatient, ZEROS, 3, rates=[0.1] * 9)
    before = gradient_descent(objective, ZEROS, 3, rates=[0.1] * 9)
    assert learned.stopped == f"interrupted after {steps} steps" and learned.trace == before.trace[:steps]
    until = gradient_descent(objective, ZEROS, 3, rates=[0.1] * steps).params if steps else ZEROS
    assert all(np.array_equal(v, until[k]) for k, v in learned.params.items())


def test_half_a_training_is_no_fixture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoo, "ZOO", {"digits_mlp": dataclasses.replace(zoo.ZOO["digits_mlp"], rate=1e300)})
    with pytest.raises(RuntimeError, match="digits_mlp is not trained: diverged in step"):
        zoo.trained("digits_mlp")


# --- progress and plots ----------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("stream", "shown"), [(Terminal, True), (io.StringIO, False)], ids=["terminal", "pipe"])
def test_progress_is_shown_on_a_terminal_and_not_in_a_pipe(
    stream: type[io.StringIO], shown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = stream()
    monkeypatch.setattr(sys, "stderr", out)
    learned = gradient_descent(least_squares(X, Y), ZEROS, 3, rates=[0.1] * 9)
    assert ("objective" in out.getvalue()) == shown and bool(out.getvalue()) == shown
    assert not learned.stopped


def test_traces_become_one_self_contained_figure() -> None:
    kept, lost = (gradient_descent(least_squares(X, Y), ZEROS, 3, rates=[r] * 600).trace for r in (0.1, 5.0))
    figure = plot({"rate 1/10": kept, "rate 5": lost})
    assert figure == plot({"rate 1/10": kept, "rate 5": lost})
    assert figure.startswith("<?xml") and "<script" not in figure and "http" not in figure.partition("</metadata>")[2]
    assert ">rate 1/10<" in figure and ">objective<" in figure
    for i, count in enumerate((0, 1)):
        group = figure.partition(f'<g id="not-finite-{i}">')[2].partition("<g id=")[0]
        assert group.count("<use ") == count


@pytest.mark.parametrize(
    "trace", [[], [3.0], [1.0, -1.0], [math.nan], [math.inf, 1.0], [Fraction(1, 2), 0], [1e308] * 2]
)
def test_every_trace_can_be_plotted(trace: Sequence[Any]) -> None:
    assert plot({"a": trace}).rstrip().endswith("</svg>") and plot({})


# --- what is refused -------------------------------------------------------------------------------------------------


def digit_case(**changes: Any) -> Any:
    net = changes.pop("net", LAYER)
    given: dict[str, Any] = {"x": np.ones((4, 3)), "target": np.array([0, 1, 1, 0]), "head": "softmax", "rates": [0.1]}
    given |= changes
    return train(net, start(net), given.pop("x"), given.pop("target"), **given)


def spoilt(x: np.ndarray, place: tuple[int, ...], value: Any) -> np.ndarray:
    x = x.copy()
    x[place] = value
    return x


REFUSED: Mapping[str, tuple[dict[str, Any], str]] = {
    "NaN": ({"x": spoilt(np.ones((4, 3)), (2, 1), np.nan)}, "network: x[2, 1] is nan, expected a finite number"),
    "infinity": ({"x": spoilt(np.ones((4, 3)), (3, 0), -np.inf)}, "network: x[3, 0] is -inf, expected a finite"),
    "label": ({"target": np.array([0, 1, 2, 0])}, "network: target[2] is 2, expected a class from 0 to 1"),
    "negative label": ({"target": np.array([0, -100, 1, 0])}, "network: target[1] is -100, expected a class from 0"),
    "NaN target": (
        {"target": spoilt(np.ones((4, 2)), (1, 1), np.nan), "head": "linear"},
        "network: target[1, 1] is nan, expected a finite number",
    ),
    "chance": ({"target": np.full((4, 2), 1.5), "head": "logistic"}, "target[0, 0] is 1.5, expected a number from 0"),
    "NaN chance": ({"target": np.full((4, 2), np.nan), "head": "logistic"}, "target[0, 0] is nan, expected a number"),
    "NaN probability": ({"target": np.full((4, 2), np.nan)}, "target[0, 0] is nan, expected a number from 0 to 1"),
    "shape": (
        {"target": np.ones((4, 3)), "head": "linear"},
        "network: target has dtype float64 and shape (4, 3), expected (4, 2) for numbers",
    ),
    "fewer": ({"target": np.array([0, 1])}, "x has 4 samples and target 2, expected as many, at least one"),
    "none": ({"x": np.ones((0, 3)), "target": np.ones(0, int)}, "x has 0 samples and target 0"),
    "0-d": ({"x": np.float64(1)}, "x has 0 samples and target 4, expected as many, at least one"),
    "classes of another shape": (
        {"target": np.zeros((4, 1), int)},
        "network: target has dtype int64 and shape (4, 1), expected (4,) for classes",
    ),
    "classes as floats": (
        {"target": np.array([0.0, 1.0, 1.0, 0.0])},
        "network: target has dtype float64 and shape (4,), expected (4, 2) for numbers",
    ),
    "head": (
        {"head": "softmx", "target": np.array([0, 1, 7, 0])},
        "head is 'softmx', expected one of 'softmax', 'logistic', 'linear', did you mean",
    ),
    "batch": ({"batch": 0}, "the batch is 0, expected a number of samples from 1 to 4"),
    "large batch": ({"batch": 5}, "the batch is 5, expected a number of samples from 1 to 4"),
    "part of a batch": ({"batch": 1.5}, "the batch is 1.5, expected a number of samples from 1 to 4"),
    "one rate": ({"rates": 0.1}, "rates is 0.1, expected a list: a learning rate for every epoch"),
    "no rate": ({"rates": []}, "there is no learning rate, expected one for every epoch"),
    "rate": ({"rates": [0.1, -1.0]}, "the learning rate of epoch 1 is -1.0, expected a finite number from 0 on"),
    "NaN rate": ({"rates": [np.nan]}, "the learning rate of epoch 0 is nan"),
    "decay": ({"weight_decay": -0.5}, "weight_decay is -0.5, expected a finite number from 0 on"),
    "NaN decay": ({"weight_decay": np.nan}, "weight_decay is nan, expected a finite number from 0 on"),
    "seed": ({"seed": -1}, "the seed is -1, expected an integer from 0 on"),
    "seed as text": ({"seed": "0"}, "the seed is '0', expected an integer from 0 on"),
    "decayed": (
        {"weight_decay": 0.5, "decayed": ["fc.weigth"]},
        "there is no parameter 'fc.weigth' to decay, expected some of fc.weight, fc.bias",
    ),
    "mask": (
        {"net": Network(DROPPING.nodes, inputs=("x", "mask")), "target": np.ones((4, 2)), "head": "linear"},
        "network: `shapes` does not say which shape the mask 'mask' has",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_gets_one_sentence_before_anything_is_trained(name: str) -> None:
    changes, sentence = REFUSED[name]
    with pytest.raises(ValueError, match=r"^[^\n]*$") as caught:
        digit_case(**changes)
    assert sentence in str(caught.value)


def test_the_case_that_is_spoilt_is_good() -> None:
    assert not digit_case().stopped


def test_a_start_that_is_not_finite_is_refused() -> None:
    params = start(LAYER) | {"fc.bias": np.array([1.0, np.nan])}
    with pytest.raises(ValueError, match=r"^fc.bias\[1\] is nan, expected a finite number$"):
        train(LAYER, params, np.ones((4, 3)), np.array([0, 1, 1, 0]), head="softmax", rates=[0.1])


def test_a_parameter_that_the_network_does_not_have_is_named() -> None:
    params = start(LAYER) | {"fc.scale": np.ones(2)}
    with pytest.raises(ValueError, match=r"^there is no gradient of the parameter 'fc.scale', got fc.weight, fc.bias$"):
        train(LAYER, params, np.ones((4, 3)), np.array([0, 1, 1, 0]), head="softmax", rates=[0.1])


def test_what_is_no_number_is_refused_before_it_is_compared() -> None:
    with pytest.raises(TypeError, match=r"^network takes arrays of one dtype, but x is <U1, fc.weight is float64"):
        train(LAYER, start(LAYER), np.full((4, 3), "a"), np.array([0, 1, 1, 0]), head="softmax", rates=[0.1])


def test_data_may_be_lists_and_are_refused_in_evaluation_as_in_training() -> None:
    x, labels = np.ones((4, 3)), [0, 1, 1, 0]
    params = {name: w.tolist() for name, w in start(LAYER).items()}
    learned = train(LAYER, params, x.tolist(), labels, head="softmax", rates=[0.1])  # type: ignore[arg-type]
    assert learned.trace == digit_case().trace
    for changed, sentence in (
        ((spoilt(x, (2, 1), np.nan), labels), "x[2, 1] is nan, expected a finite number"),
        ((x, [0, 1, 2, 0]), "target[2] is 2, expected a class from 0 to 1"),
    ):
        with pytest.raises(ValueError, match=re.escape(sentence)):
            evaluate(LAYER, start(LAYER), *changed, head="softmax")


def test_fewer_than_five_samples_have_no_fifth() -> None:
    with pytest.raises(ValueError, match="a fifth of 4 samples is none: expected at least 5"):
        split(4, seed=0)
    with pytest.raises(ValueError, match="the seed is -3, expected an integer from 0 on"):
        split(5, seed=-3)
