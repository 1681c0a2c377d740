"""Fully connected networks of any depth: by complex step, by PyTorch's layers and by the formulas of the sources."""

from __future__ import annotations

import dataclasses
import itertools
from collections import OrderedDict
from typing import Any

import flint
import numpy as np
import pytest
import torch
from exactly import fractions, quarters

import refnn
from refnn.arithmetic.exact import Arb
from refnn.networks.network import Network, Node, mlp
from refnn.op import Op
from refnn.oracle.evaluate import Call, run
from refnn.teaching.schedules import store_all
from refnn.witnesses import differences

WIDTHS = [(3, 4, 3, 4, 2), (2, 3), (4, 1, 5), (2, 6, 5, 4, 5, 6, 2)]
S = 4


def module(widths: tuple[int, ...], activation: type[torch.nn.Module], active_last: bool = False) -> torch.nn.Module:
    """The same network as torch.nn layers, with weights of its own."""
    layers: list[tuple[str, torch.nn.Module]] = []
    for n, (k, m) in enumerate(itertools.pairwise(widths), 1):
        layers.append((f"fc{n}", torch.nn.Linear(k, m)))
        if active_last or n < len(widths) - 1:
            layers.append((f"{activation.__name__.lower()}{n}", activation()))
    return torch.nn.Sequential(OrderedDict(layers))


def with_loss(net: Network, loss: str) -> Op:
    """The mean loss as an op of the parameters, x and t."""
    head = Node("loss", loss, (net.nodes[-1].name, "t"))
    return Network([*net.nodes, head], inputs=("x", "t")).op


def contradictions(op: Op, inputs: tuple[np.ndarray, ...]) -> int:
    """How many entries of the gradient the complex step contradicts, after it has found all of them to many digits."""
    one, ar = np.ones(()), Arb(differences.PRECISION)
    with ar.working():
        _, *claimed = run(ar, Call(op, inputs, {}, one))
    said = differences.complex_step(op, inputs, {}, one)
    told = [(mine, theirs) for mine, theirs in zip(claimed, said, strict=True) if theirs is not None]
    pairs = [pair for mine, theirs in told for pair in zip(mine.flat, theirs.flat, strict=True)]
    narrow = flint.arb((1, -(differences.promised_bits_complex_step() // 2)))
    assert pairs and all(b.is_finite() and b.rad() <= narrow for _, b in pairs)
    return sum(not a.overlaps(b) for a, b in pairs)


def checked(widths: tuple[int, ...], loss: str, activation: type[torch.nn.Module], **kwargs: Any) -> None:
    """Values and gradients of a network by PyTorch's layers, and its gradient with a loss by complex step."""
    net = mlp(widths, activation=activation.__name__.lower(), **kwargs)
    rng = np.random.default_rng(len(widths))
    torch_net = module(widths, activation, kwargs.get("active_last", False))
    params = {name: rng.normal(size=tuple(v.shape)) for name, v in torch_net.named_parameters()}
    assert list(net.parameters) == list(params)
    x, t = rng.normal(size=(S, widths[0])), np.eye(widths[-1])[rng.integers(0, widths[-1], S)]
    for dtype in ("float32", "float64"):
        given = {"inputs": (x.astype(dtype),), "params": {name: w.astype(dtype) for name, w in params.items()}}
        given["cotangent"] = rng.normal(size=(S, widths[-1])).astype(dtype)
        report = refnn.check(net, torch_net, framework="torch", dtype=dtype, inputs=given, accept=("explained",))
        assert report.ok, str(report)
    op = with_loss(net, loss)
    inputs = (*params.values(), x, t)
    assert not contradictions(op, inputs)
    doubled = dataclasses.replace(op, vjp_definition=lambda *a: (2 * (grads := op.vjp_definition(*a))[0], *grads[1:]))
    assert contradictions(doubled, inputs)


@pytest.mark.system("S9")
@pytest.mark.parametrize("widths", WIDTHS, ids=str)
def test_relu_within_and_softmax_at_the_end(widths: tuple[int, ...]) -> None:
    """challa2023, as its sections 1 and 3 describe it."""
    checked(widths, "cross_entropy", torch.nn.ReLU)


def from_to(params: dict[str, np.ndarray], x: np.ndarray, t: np.ndarray) -> dict[str, np.ndarray]:
    """The gradient of one sample in challa2023's order, w[i, j] from node i to node j, by (8), (18) to (27)."""
    depth = len(params) // 2
    xs = [x]
    for n in range(1, depth + 1):
        w, b = params[f"fc{n}.weight"], params[f"fc{n}.bias"]
        a = [sum(w[i, j] * xs[-1][i] for i in range(w.shape[0])) + b[j] for j in range(w.shape[1])]
        xs.append(np.array([max(v, 0) for v in a] if n < depth else a, dtype=object))
    grads, dLa = {}, xs[-1] - t
    for n in range(depth, 0, -1):
        w, x = params[f"fc{n}.weight"], xs[n - 1]
        grads[f"fc{n}.weight"] = np.array([[d * v for d in dLa] for v in x], dtype=object)
        grads[f"fc{n}.bias"] = dLa
        back = [sum(dLa[j] * w[i, j] for j in range(w.shape[1])) for i in range(w.shape[0])]
        dLa = np.array([d if v > 0 else 0 * d for d, v in zip(back, x, strict=True)], dtype=object)
    return grads


@pytest.mark.system("S44")
@pytest.mark.parametrize("widths", WIDTHS, ids=str)
def test_weights_to_from_and_an_active_last_layer(widths: tuple[int, ...]) -> None:
    """cnnmath, fully connected networks, with tanh in all layers; with ReLU but in the last, the transpose of
    challa2023's, exactly."""
    checked(widths, "half_squared_error", torch.nn.Tanh, active_last=True)
    net = mlp(widths)
    shapes = {name: tuple(v.shape) for name, v in module(widths, torch.nn.ReLU).named_parameters()}
    params = {name: fractions(quarters(n, *shape)) for n, (name, shape) in enumerate(shapes.items())}
    x, t = fractions(quarters(30, 1, widths[0])), fractions(quarters(31, 1, widths[-1]))
    grads = store_all(net, params, x, target=t, loss="half_squared_error").grads
    swapped = from_to({name: w.T for name, w in params.items()}, x[0], t[0])
    assert all((grads[name] == g.T).all() for name, g in swapped.items())
    assert any(g.any() for g in grads.values())


def test_complex_step_sees_past_a_kink_that_is_near() -> None:
    """An a of 2^-12 is within the first of its radii, where ReLU is no analytic function, and beyond the next."""
    op = mlp((1, 1, 1)).op
    inputs = (np.array([[2.0**-12]]), np.zeros(1), np.array([[3.0]]), np.zeros(1), np.ones((1, 1)))
    by_weight, *_ = differences.complex_step(op, inputs, {}, np.ones((1, 1)))
    narrow = flint.arb((1, -(differences.promised_bits_complex_step() // 2)))
    assert by_weight[0, 0].overlaps(flint.arb(3)) and by_weight[0, 0].rad() <= narrow
