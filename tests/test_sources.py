"""The systems of the sources that are ops of the catalogue: what the sources print, in loops of this file's own.

Data are small integers and fractions with powers of two below, so that every sum is exact in float64 and equal means
equal. So are quotients of differences: where a function is linear in each of its parameters, or quadratic, its central
difference is its derivative, whatever the step.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import sympy as sp
import torch

import refnn
from refnn.arithmetic.floats import Floats
from refnn.arithmetic.symbols import Symbols
from refnn.networks.network import Network, Node
from refnn.witnesses import torch as autograd


def whole(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-5, 6, shape).astype(float)


def differences(f: Callable[[], float], x: np.ndarray, step: float) -> np.ndarray:
    """The central differences of f, which looks at x, by every element of x."""
    found = np.empty_like(x)
    for place in np.ndindex(x.shape):
        kept = x[place]
        x[place] = kept + step
        above = f()
        x[place] = kept - step
        found[place] = (above - f()) / (2 * step)
        x[place] = kept
    return found


# --- a neuron --------------------------------------------------------------------------------------------------------


@pytest.mark.system("S1")
@pytest.mark.parametrize(("w", "a", "fired"), [((0.5, 1, -2), -3.375, 0), ((-1, 0, 1), 2.125, 2.125)])
def test_a_single_neuron(w: Any, a: float, fired: float) -> None:
    """a = sum_i w_i x_i + b and x = g(a), by hand: the sample of challa2023 (7)."""
    neuron = Network([Node("sum", "linear", ("x", "sum.weight", "sum.bias")), Node("g", "relu", ("sum",))])
    x, params = np.array([[1.0, 2.0, 3.0]]), {"sum.weight": np.array([w], float), "sum.bias": np.array([0.125])}
    run = neuron.forward(params, x)
    assert run.values["sum"].tolist() == [[a]]
    assert run.output.tolist() == [[fired]]
    for name, gradient in neuron.backward(run, np.array([[3.0]])).items():
        slopes = differences(lambda: 3 * neuron.forward(params, x).output.item(), params[name], 2.0**-4)
        assert (gradient == slopes).all(), name


# --- kinks: every slope between the one-sided ones keeps below the function, and no other ----------------------------

GRID = np.arange(-8, 9) / 4


def below(f: Callable[[float], float], at: float, slope: float) -> bool:
    """The subgradient inequality on the grid."""
    return all(f(z) >= f(at) + slope * (z - at) for z in GRID)


@pytest.mark.system("S3")
def test_relu_and_its_slope_at_zero() -> None:
    """Slopes 0 and 1, at 0 the first of [0, 1], as in the sources and in PyTorch; each named convention is one."""

    def relu(z: float) -> float:
        return refnn.relu(np.array(z)).item()

    (slopes,) = refnn.relu.vjp(np.ones_like(GRID), GRID)
    assert refnn.relu(GRID).tolist() == [max(0, z) for z in GRID]
    assert slopes.tolist() == [int(z > 0) for z in GRID]
    assert all(below(relu, z, s) for z, s in zip(GRID, slopes, strict=True))
    for convention in refnn.relu.kinks.values():
        (at_zero,) = refnn.relu.vjp_definition(Floats(convention=convention), np.ones(1), None, np.zeros(1))
        assert below(relu, 0.0, at_zero.item())
    assert [s for s in GRID if below(relu, 0.0, s)] == [0, 0.25, 0.5, 0.75, 1]
    z = torch.zeros(1, requires_grad=True)
    torch.relu(z).backward()
    assert z.grad is not None and z.grad.item() == slopes[GRID == 0].item()


@pytest.mark.system("S30")
def test_the_absolute_error_lies_above_its_tangents() -> None:
    """|y - t|, and its gradient by both: the subgradient inequality at every point, where the two are equal too."""
    for t in (-0.5, 0.0, 1.25):

        def loss(y: float, t: float = t) -> float:
            return refnn.l1_loss(np.array(y), np.array(t)).item()

        assert [loss(y) for y in GRID] == [abs(y - t) for y in GRID]
        for y in GRID:
            by_y, by_t = refnn.l1_loss.vjp(np.array(1.0), np.array(y), np.array(t))
            assert below(loss, y, by_y.item())
            assert below(lambda z, y=y: loss(y, z), t, by_t.item())
        assert [s for s in GRID if below(loss, t, s)] == [s for s in GRID if -1 <= s <= 1]


# --- softmax and the losses ------------------------------------------------------------------------------------------


@pytest.mark.system("S4")
def test_softmax_is_a_distribution_that_no_shift_changes() -> None:
    """All sixteen entries of its Jacobian for M = 4 from SymPy; the sum is 1; a + c gives what a does, to the bit where
    a + c is exact; scores of 10000 and -10000 are nothing special."""
    ar, op = Symbols(), refnn.softmax
    a, c = np.array(sp.symbols("a:4", real=True)), sp.Symbol("c", real=True)
    y = op.forward_definition(ar, a)
    assert sp.simplify(sum(y) - 1) == 0
    assert all(sp.simplify(p - q) == 0 for p, q in zip(y, op.forward_definition(ar, a + c), strict=True))
    for j in range(4):
        (row,) = op.vjp_definition(ar, ar.array(np.eye(4)[j]), y, a)
        for k in range(4):
            assert sp.simplify(sp.diff(y[j], a[k]) - row[k]) == 0, f"dy_{j}/da_{k}"
    scores = np.array([3.0, -1.0, 0.0, 2.0])
    assert (op(scores + 10000) == op(scores)).all()
    assert op(np.array([1e4, -1e4, 1e4])).tolist() == [0.5, 0, 0.5]
    assert op.vjp(np.array([1.0, 2.0, 3.0]), np.array([1e4, -1e4, 1e4]))[0].tolist() == [-0.5, 0, 0.5]


@pytest.mark.system("S5")
def test_the_loss_of_a_probability_that_vanishes() -> None:
    """Where exp(-800) is 0: the numbers of the audit, in floats and certified; log(softmax) has none."""
    a, target = np.array([[0.0, -800.0, 3.0]]), np.array([1])
    certified = refnn.truth("cross_entropy", a, target, cotangent=1.0)
    (gradient, _) = refnn.cross_entropy.vjp(np.array(1.0), a, target)
    assert certified.grads[0] is not None
    for loss, slopes in (
        (refnn.cross_entropy(a, target), gradient),
        (certified.output.value, certified.grads[0].value),
    ):
        assert np.round(loss, 4) == 803.0486
        assert np.round(slopes, 4).tolist() == [[0.0474, -1, 0.9526]]
    scores = torch.tensor(a, requires_grad=True)
    (-torch.log(torch.softmax(scores, 1)[0, 1])).backward()
    assert scores.grad is not None and torch.isnan(scores.grad).all()


@pytest.mark.system("S5")
def test_targets_need_not_sum_to_one_and_a_batch_is_averaged() -> None:
    """challa2023 (16), y_j sum_i t_i - t_j, with the targets (1, 1, 0, 0) of the audit; (17) would take the sum for 1.
    The loss of three samples is the mean of theirs, and no 1/M stands before it."""
    a, t = np.array([[0.3, -0.7, 1.1, 0.2]]), np.array([[1.0, 1.0, 0.0, 0.0]])
    (gradient, _) = refnn.cross_entropy.vjp(np.array(1.0), a, t)
    assert np.round(gradient, 4).tolist() == [[-0.5554, -0.8364, 0.9895, 0.4023]]
    assert np.round(refnn.softmax(a) - t, 4).tolist() == [[-0.7777, -0.9182, 0.4948, 0.2012]]
    certified = refnn.truth("cross_entropy", np.zeros((3, 4)), np.array([0, 3, 1]))
    assert certified.output.value == refnn.truth("logsumexp", np.zeros(4)).output.value  # ln 4, not ln(4)/4


@pytest.mark.system("S31")
def test_half_the_squared_error_has_no_factor_2() -> None:
    """1/2 sum_j (y_j - t_j)^2, the mean over four samples; central differences of a quadratic are its derivative."""
    y, t = whole(4, 3), whole(4, 3, seed=1)

    def loss() -> float:
        return refnn.half_squared_error(y, t).item()

    assert loss() == sum((p - q) ** 2 for p, q in zip(y.flat, t.flat, strict=True)) / 8
    by_y, by_t = refnn.half_squared_error.vjp(np.array(1.0), y, t)
    assert (by_y == (y - t) / 4).all()
    assert (by_y == differences(loss, y, 1.0)).all()
    assert (by_t == differences(loss, t, 1.0)).all()


# --- convolution -----------------------------------------------------------------------------------------------------


def row_layer(x: np.ndarray, w: np.ndarray, b: np.ndarray, stride: int = 1, padding: int = 0) -> np.ndarray:
    """a_oq = b_o + sum_i sum_c w_oic x_(i, sq + c - p), where x is 0 outside."""
    channels, length = x.shape
    filters, _, taps = w.shape
    out = np.empty((filters, (length + 2 * padding - taps) // stride + 1))
    for o, q in np.ndindex(out.shape):
        places = [(i, c, stride * q + c - padding) for i in range(channels) for c in range(taps)]
        out[o, q] = b[o] + sum(w[o, i, c] * x[i, place] for i, c, place in places if 0 <= place < length)
    return out


def pulled(f: Callable[..., torch.Tensor], g: np.ndarray, *arrays: np.ndarray) -> list[np.ndarray]:
    """PyTorch's gradients by every array."""
    tensors = [torch.from_numpy(a).requires_grad_() for a in arrays]
    return [v.numpy() for v in torch.autograd.grad(f(*tensors), tensors, torch.from_numpy(g))]


@pytest.mark.system("S21")
def test_two_layers_along_a_row_in_116_shapes() -> None:
    """2, 3 and 2 channels with ReLU between: every pair of filters that fits into a row of 3 to 8 pixels."""
    net = Network(
        [
            Node("below", "conv1d", ("x", "below.weight", "below.bias")),
            Node("relu", "relu", ("below",)),
            Node("above", "conv1d", ("relu", "above.weight", "above.bias")),
        ]
    )

    def torch_net(u: Any, v: Any, w: Any, c: Any) -> torch.Tensor:
        f = torch.nn.functional
        return f.conv1d(torch.relu(f.conv1d(torch.from_numpy(x), u, v)), w, c)

    shapes = [(n, p, q) for n in range(3, 9) for p in range(1, n + 1) for q in range(1, n - p + 2)]
    assert len(shapes) == 116
    for length, first, second in shapes:
        x = whole(1, 2, length, seed=length)
        params = {
            "below.weight": whole(3, 2, first, seed=first),
            "below.bias": whole(3, seed=4),
            "above.weight": whole(2, 3, second, seed=second),
            "above.bias": whole(2, seed=5),
        }
        run = net.forward(params, x)
        hidden = np.maximum(row_layer(x[0], params["below.weight"], params["below.bias"]), 0)
        assert (run.output[0] == row_layer(hidden, params["above.weight"], params["above.bias"])).all()
        g = whole(*run.output.shape, seed=6)
        for gradient, expected in zip(
            net.backward(run, g).values(), pulled(torch_net, g, *params.values()), strict=True
        ):
            assert (gradient == expected).all(), (length, first, second)


@pytest.mark.system("S21")
def test_one_layer_along_a_row_with_every_stride_and_padding() -> None:
    """The general index s q + c - p, forward and by differences, with which all gradients come."""
    tried = 0
    for length, taps, stride, padding in itertools.product(range(1, 7), range(1, 5), (1, 2, 3), (0, 1, 2)):
        if taps > length + 2 * padding:
            continue
        x, w, b = whole(2, length, seed=length), whole(3, 2, taps, seed=taps), whole(3)
        out = refnn.conv1d(x, w, b, stride=stride, padding=padding)
        assert (out == row_layer(x, w, b, stride, padding)).all()
        g = whole(*out.shape, seed=1)
        arrays = (x, w, b)

        def loss(given: Any = arrays, g: Any = g, slide: Any = (stride, padding)) -> float:
            return (g * row_layer(*given, *slide)).sum().item()

        found = refnn.conv1d.vjp(g, *arrays, stride=stride, padding=padding)
        for gradient, by in zip(found, arrays, strict=True):
            assert (gradient == differences(loss, by, 1.0)).all(), (length, taps, stride, padding)
        tried += 1
    assert tried > 180


@pytest.mark.system("S46")
def test_the_convolution_of_cnnmath_and_its_delta() -> None:
    """W_abnk, indices from 0: x_ijn = b_n + sum W_abnk y_(i+a)(j+b)k, with delta_(i-a)(j-b)n on the way back. The
    i + a of the article is another array. Its kernels are refnn's with (a, b, n, k) for (n, k, a, b)."""
    f, (height, width), maps_in, maps_out = 3, (6, 7), 2, 3
    w, b, y = whole(f, f, maps_out, maps_in), whole(maps_out), whole(height, width, maps_in, seed=1)
    weight, x = w.transpose(2, 3, 0, 1), y.transpose(2, 0, 1)
    out = refnn.conv2d(x, weight, b)
    assert out.shape == (maps_out, height - f + 1, width - f + 1)
    taps = list(itertools.product(range(f), range(f)))
    for n, i, j in np.ndindex(out.shape):
        assert out[n, i, j] == b[n] + sum(w[p, q, n] @ y[i + p, j + q] for p, q in taps)

    delta = whole(*out.shape, seed=2)
    below_, by_weight, by_bias = refnn.conv2d.vjp(delta, x, weight, b)

    def back(sign: int) -> np.ndarray:
        found = np.zeros_like(y)
        for i, j, k in np.ndindex(y.shape):
            for p, q in taps:
                r, s = i + sign * p, j + sign * q
                if 0 <= r < out.shape[1] and 0 <= s < out.shape[2]:
                    found[i, j, k] += w[p, q, :, k] @ delta[:, r, s]
        return found

    assert (below_.transpose(1, 2, 0) == back(-1)).all()
    assert not (below_.transpose(1, 2, 0) == back(1)).all()
    nodes = list(itertools.product(range(out.shape[1]), range(out.shape[2])))
    for p, q, n, k in np.ndindex(w.shape):
        assert by_weight[n, k, p, q] == sum(delta[n, i, j] * y[i + p, j + q, k] for i, j in nodes)
    assert (by_bias == delta.sum((1, 2))).all()
    assert weight.size + b.size == f * f * maps_in * maps_out + maps_out


@pytest.mark.system("S65")
def test_a_convolution_of_one_pixel_is_a_dense_layer_at_each() -> None:
    x, w, b = whole(2, 3, 4, 5), whole(6, 3, seed=1), whole(6, seed=2)
    out = refnn.conv2d(x, w[:, :, None, None], b)
    assert (out == np.einsum("oi,nihw->nohw", w, x) + b[:, None, None]).all()
    pixels = x.transpose(0, 2, 3, 1)
    assert (out == refnn.linear(pixels, w, b).transpose(0, 3, 1, 2)).all()
    g = whole(*out.shape, seed=3)
    by_x, by_w, by_b = refnn.conv2d.vjp(g, x, w[:, :, None, None], b)
    assert (by_x == np.einsum("oi,nohw->nihw", w, g)).all()
    assert (by_w[:, :, 0, 0] == np.einsum("nohw,nihw->oi", g, x)).all()
    assert (by_b == np.einsum("nohw->o", g)).all()


# --- activations -----------------------------------------------------------------------------------------------------

z = sp.Symbol("z", real=True)
E = sp.exp(z)
QUARTER = sp.Rational(1, 4)
LAMBDA, ALPHA = sp.Rational(1.0507009873554805), sp.Rational(1.6732632423543772)


@dataclass(frozen=True)
class Activation:
    """What katsaros names, in the definition that is usual: the formula between kinks from left to right, the kinks,
    and refnn's derivative there. `rest` are further inputs of the op."""

    op: str
    pieces: tuple[Any, ...]
    kinks: tuple[int, ...] = ()
    at_kinks: tuple[Any, ...] = ()
    rest: tuple[float, ...] = ()
    params: Mapping[str, float] = field(default_factory=dict)

    def __call__(self, points: Any) -> tuple[Any, Any]:
        """Values and derivatives: of floats in float64, of SymPy's numbers in symbols."""
        x, op = np.array(points), refnn.ops[self.op]
        rest = [np.full(x.shape if self.op == "rrelu" else 1, r) for r in self.rest]
        if x.dtype == np.float64:
            return op(x, *rest, **self.params), op.vjp(np.ones_like(x), x, *rest, **self.params)[0]
        ar, params = Symbols(), {**op.defaults, **self.params}
        given = x, *map(ar.array, rest)
        y = op.forward_definition(ar, *given, **params)
        return y, op.vjp_definition(ar, ar.array(np.ones(x.shape)), y, *given, **params)[0]


# Softmax and maxout are vectors and stand elsewhere; softtanh, which has no definition, is taken for tanh.
ACTIVATIONS = {
    "ReLU": Activation("relu", (0 * z, z), (0,), (0,)),
    "leaky ReLU": Activation("leaky_relu", (z / 4, z), (0,), (QUARTER,), params={"negative_slope": 0.25}),
    "parametric ReLU": Activation("prelu", (z / 4, z), (0,), (QUARTER,), rest=(0.25,)),
    "randomized ReLU": Activation("rrelu", (z / 4, z), (0,), (QUARTER,), rest=(0.25,)),
    "ELU": Activation("elu", ((E - 1) / 4, z), (0,), (QUARTER,), params={"alpha": 0.25}),
    "SELU": Activation("selu", (LAMBDA * ALPHA * (E - 1), LAMBDA * z), (0,), (LAMBDA * ALPHA,)),
    "tanh": Activation("tanh", (2 / (1 + sp.exp(-2 * z)) - 1,)),
    "hardtanh": Activation("hardtanh", (sp.Integer(-1), z, sp.Integer(1)), (-1, 1), (0, 0)),
    "softsign": Activation("softsign", (z / (1 - z), z / (1 + z)), (0,), (1,)),
    "softplus": Activation("softplus", (sp.log(1 + E),)),
    "logistic": Activation("sigmoid", (1 / (1 + sp.exp(-z)),)),
}
EACH = pytest.mark.parametrize("activation", ACTIVATIONS.values(), ids=ACTIVATIONS)


@pytest.mark.system("S67")
@EACH
def test_an_activation_is_its_formula(activation: Activation) -> None:
    """Value and derivative by SymPy, off the kinks and at them, and the two slopes that meet at one."""
    points = [sp.Rational(n, 4) for n in (-13, -4, -3, -1, 0, 1, 2, 4, 9)]
    at_kinks = dict(zip(activation.kinks, activation.at_kinks, strict=True))
    for point, y, slope in zip(points, *activation(points), strict=True):
        formula = activation.pieces[sum(bool(point > k) for k in at_kinks)]
        derivative = at_kinks.get(point, sp.diff(formula, z).subs(z, point))
        assert sp.simplify((y - formula.subs(z, point)).rewrite(sp.exp)) == 0, point
        assert sp.simplify(slope - derivative) == 0, point
    for (kink, chosen), sides in zip(at_kinks.items(), itertools.pairwise(activation.pieces), strict=True):
        assert chosen in {sp.diff(piece, z).subs(z, kink) for piece in sides}


@pytest.mark.system("S67")
@EACH
def test_an_activation_is_stable_far_out(activation: Activation) -> None:
    """Where exp(z) or exp(-z) is no number of float64, the value and the derivative are still the formula's."""
    for end, y, slope in zip((-1000, 1000), *activation([-1000.0, 1000.0]), strict=True):
        formula = activation.pieces[-1 if end > 0 else 0]
        assert (y, slope) == tuple(float(sp.N(f.subs(z, end), 30)) for f in (formula, sp.diff(formula, z)))


@pytest.mark.system("S67")
@EACH
def test_pytorch_has_the_same_activation(activation: Activation) -> None:
    """Values, and gradients by autograd, within what float64 allows; softplus is the one that turns linear at 20."""
    function, one = autograd.FUNCTIONS[activation.op], {"dtype": "float64", "families": ["normal", "kinks"]}
    report = refnn.check(activation.op, function, framework="torch", accept=["explained"], **one)
    assert report.ok, str(report)
