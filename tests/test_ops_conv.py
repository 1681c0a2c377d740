"""The convolution family: what it refuses, its equations in exact numbers, its classes, infinities next to padding."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import refnn
from refnn.arithmetic.exact import Fractions
from refnn.judging.cases import cases
from refnn.judging.check_case import check_case
from refnn.models import model

pytestmark = pytest.mark.usefixtures("shared_judges")

X, W, B = np.ones((2, 4, 5, 6)), np.ones((6, 4, 3, 2)), np.ones(6)
X1, W1, B1 = np.ones((2, 4, 5)), np.ones((6, 4, 3)), np.ones(6)

# What is wrong with a call -> the sentence.
REFUSED: list[tuple[str, tuple[Any, ...], dict[str, Any], str]] = [
    ("conv2d", (X, np.ones((6, 4, 6, 2))), {}, r"the kernel covers \(6, 2\) cells, expected at most \(5, 6\), x with"),
    ("conv2d", (X, W), {"dilation": (3, 1)}, r"the kernel covers \(7, 2\) cells, expected at most \(5, 6\)"),
    ("conv2d", (X, W), {"stride": 0}, "stride is 0, expected an integer of at least 1 or 2 of them"),
    ("conv2d", (X, W), {"stride": (1, 2, 3)}, r"stride is \(1, 2, 3\), expected an integer of at least 1 or 2"),
    ("conv2d", (X, W), {"stride": 1.5}, "stride is 1.5, expected an integer"),
    ("conv2d", (X, W), {"dilation": -1}, "dilation is -1, expected an integer of at least 1"),
    ("conv2d", (X, W), {"groups": 3}, "groups is 3, expected a divisor of 4, the channels of x"),
    ("conv2d", (X, np.ones((5, 2, 3, 2))), {"groups": 2}, "groups is 2, expected a divisor of 5, the outputs of w"),
    ("conv2d", (X, W), {"groups": 0}, "groups is 0, expected a divisor of 4"),
    (
        "conv2d",
        (X, W),
        {"groups": 2},
        r"weight has shape \(6, 4, 3, 2\) and x has 4 channels in 2 groups.* 2 on axis 1",
    ),
    ("conv2d", (X, W[:, :3]), {}, "x has 4 channels in 1 groups, expected weight to have 4 on axis 1"),
    ("conv2d", (X, W[0]), {}, r"weight has shape \(4, 3, 2\), expected \(out, in/groups, kH, kW\)"),
    ("conv2d", (X[0, 0], W), {}, r"x has shape \(5, 6\), expected \(N, C, H, W\) or \(C, H, W\)"),
    ("conv2d", (X[:, :, :0], W), {}, r"x has shape \(2, 4, 0, 6\), expected no empty axis but the batch"),
    ("conv2d", (X, W[:0]), {}, r"weight has shape \(0, 4, 3, 2\), expected no empty axis"),
    ("conv2d", (X, W, B[:5]), {}, r"bias has shape \(5,\), expected \(6,\), one for each output channel"),
    ("conv2d", (X, W), {"padding": "vaild"}, "padding is 'vaild', expected one of .*, did you mean 'valid'"),
    ("conv2d", (X, W), {"padding": "half"}, "padding is 'half', expected one of 'valid', 'same', 'full'$"),
    ("conv2d", (X, W), {"padding": -1}, "padding is -1, expected an integer of at least 0"),
    ("conv2d", (X, W), {"padding": ((1, 2), 3)}, r"padding is \(\(1, 2\), 3\), expected .* or 2 pairs"),
    ("conv2d", (X, W), {"padding": ((1, 2),)}, r"padding is \(\(1, 2\),\), expected .* or 2 pairs"),
    ("conv2d", (X, W), {"padding": "same", "stride": (1, 2)}, r"stride is \(1, 2\), expected 1 with padding 'same'"),
    ("conv1d", (X1, W1), {"padding": (1, 2)}, r"padding is \(1, 2\), expected .* 1 pairs"),
    ("conv1d", (X1, W1), {"stride": 0}, "conv1d: stride is 0, expected an integer of at least 1$"),
    ("conv1d", (X1[0, 0], W1), {}, r"x has shape \(5,\), expected \(N, C, L\) or \(C, L\)"),
    ("conv3d", (X1, W1), {}, r"weight has shape \(6, 4, 3\), expected \(out, in/groups, kD, kH, kW\)"),
    ("conv_transpose2d", (X, W), {}, "x has 4 channels, expected weight to have as many on axis 0"),
    ("conv_transpose2d", (X, W[:4]), {"groups": 3}, "groups is 3, expected a divisor of 4, the inputs of weight"),
    ("conv_transpose2d", (X, W[:4]), {"output_padding": 1}, "output_padding is 1, expected less than stride 1 or dil"),
    ("conv_transpose2d", (X, W[:4]), {"output_padding": -1}, "output_padding is -1, expected an integer of at least 0"),
    ("conv_transpose2d", (X, W[:4]), {"padding": 4}, r"the output would have \(-1, -1\) cells, expected at least 1"),
    ("conv_transpose2d", (X, W[:4]), {"padding": "same"}, "padding is 'same', expected an integer of at least 0"),
    ("conv_transpose2d", (X, W[:4], B), {}, r"bias has shape \(6,\), expected \(4,\)"),
    ("conv1d", (X, W1), {}, r"x has shape .*, expected \(N, C, L\) or \(C, L\)$"),
    ("conv2d", (X[0, 0], W), {}, r"x has shape .*, expected \(N, C, H, W\) or \(C, H, W\)$"),
    ("conv3d", (X[0], W[..., None]), {}, r"x has shape .*, expected \(N, C, D, H, W\) or \(C, D, H, W\)$"),
    ("conv_transpose1d", (X1, W1[:4]), {"stride": -2}, "stride is -2, expected an integer of at least 1"),
    ("conv_transpose3d", (X, W), {}, r"weight has shape \(6, 4, 3, 2\), expected \(in, out/groups, kD, kH, kW\)"),
    ("locally_connected2d", (X, W), {}, r"weight has shape .*, expected \(out, in, out_h, out_w, kH, kW\)"),
    ("locally_connected2d", (X, np.ones((2, 3, 3, 5, 3, 2))), {}, "x has 4 channels, expected weight to have as many"),
    (
        "locally_connected2d",
        (X, np.ones((2, 4, 3, 4, 3, 2))),
        {},
        r"expected kernels for \(3, 5\) places on axes 2 and 3",
    ),
    ("locally_connected2d", (X, np.ones((2, 4, 2, 5, 3, 2)), np.ones(2)), {"stride": (2, 1)}, r"bias has shape \(2,\)"),
    ("locally_connected2d", (X, np.ones((2, 4, 2, 5, 3, 2))), {"stride": 0}, "stride is 0, expected an integer"),
]


@pytest.mark.parametrize(("op", "arrays", "params", "sentence"), REFUSED, ids=range(len(REFUSED)))
def test_one_sentence_says_what_is_wrong(op: str, arrays: Any, params: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as caught:
        refnn.ops[op](*arrays, **params)
    assert "\n" not in str(caught.value) and str(caught.value).startswith(f"{op}: ")


def test_the_calls_next_to_the_refused_ones_are_taken() -> None:
    assert refnn.conv2d(X, W, B, dilation=(2, 1), stride=(1, 3)).shape == (2, 6, 1, 2)
    assert refnn.conv2d(X, W[:, :2], B, groups=2, padding="same").shape == (2, 6, 5, 6)
    assert refnn.conv2d(X, W, padding="full").shape == (2, 6, 7, 7)
    assert refnn.conv2d(X, W, padding=[(0, 1), (2, 0)]).shape == (2, 6, 4, 7)
    assert refnn.conv1d(X1, W1, padding=((1, 2),)).shape == (2, 6, 6)
    assert refnn.conv_transpose2d(X, W[:4], stride=2, output_padding=1).shape == (2, 4, 12, 13)
    assert refnn.conv_transpose2d(X, W[:4], padding=(3, 3)).shape == (2, 4, 1, 1)
    assert refnn.conv2d(X[:0], W).shape == (0, 6, 3, 5)


# --- identities that tie the parameters together, in exact integers --------------------------------------------------


def whole(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-9, 10, shape).astype(float)


def test_a_depthwise_convolution_is_one_for_each_channel() -> None:
    x, w = whole(2, 3, 6, 5), whole(6, 1, 3, 2)
    y = refnn.conv2d(x, w, groups=3, stride=(2, 1), padding=1)
    alone = [refnn.conv2d(x[:, c : c + 1], w[2 * c : 2 * c + 2], stride=(2, 1), padding=1) for c in range(3)]
    assert np.array_equal(y, np.concatenate(alone, 1))


def test_dilation_puts_zeros_between_the_taps_and_stride_leaves_windows_out() -> None:
    x, w = whole(2, 3, 11, 12), whole(4, 3, 3, 2)
    wide = np.zeros((4, 3, 5, 4))
    wide[:, :, ::2, ::3] = w
    for padding in (1, "full", ((2, 0), (1, 3))):
        y = refnn.conv2d(x, wide, padding=padding)
        assert np.array_equal(refnn.conv2d(x, w, dilation=(2, 3), padding=padding), y)
        if padding != "full":
            assert np.array_equal(
                refnn.conv2d(x, w, dilation=(2, 3), padding=padding, stride=(3, 2)), y[:, :, ::3, ::2]
            )
    assert np.array_equal(
        refnn.conv2d(x, w, dilation=(2, 3), padding="same"),
        refnn.conv2d(x, w, dilation=(2, 3), padding=((2, 2), (1, 2))),
    )


def test_same_pairs_each_axis_with_its_own_dilation() -> None:
    """tinygrad PR17805: the kernel of one axis met the dilation of the other."""
    x, w = whole(1, 1, 9, 20), whole(1, 1, 3, 5)
    y = refnn.conv2d(x, w, dilation=(2, 3), padding="same")
    assert y.shape == (1, 1, 9, 20)
    assert np.array_equal(y, refnn.conv2d(x, w, dilation=(2, 3), padding=(2, 6)))


def test_rank_is_no_matter_where_an_axis_has_one_cell() -> None:
    x, w = whole(2, 4, 9), whole(6, 2, 3)
    params = {"stride": 2, "padding": ((1, 2),), "groups": 2, "dilation": 2}
    y = refnn.conv1d(x, w, **params)
    two = {"stride": (2, 1), "padding": ((1, 2), (0, 0)), "groups": 2, "dilation": (2, 1)}
    assert np.array_equal(y, refnn.conv2d(x[..., None], w[..., None], **two)[..., 0])
    three = {k: v if isinstance(v, int) else (*v[:1], v[1], v[1]) for k, v in two.items()}
    assert np.array_equal(y, refnn.conv3d(x[..., None, None], w[..., None, None], **three)[..., 0, 0])


def test_transposed_is_the_gradient_and_not_the_inverse() -> None:
    x, w = whole(2, 4, 7, 6), whole(4, 3, 3, 2)
    params = {"stride": (2, 3), "padding": ((1, 0), (0, 1)), "dilation": (1, 2), "groups": 2}
    y = refnn.conv_transpose2d(x, w, output_padding=(1, 0), **params)
    (gradient, _, _) = refnn.conv2d.vjp(x, np.zeros_like(y), w, None, **params)
    assert np.array_equal(y, gradient)
    # katsaros, "reverse" convolution: x = (1, 2, 3, 4), k = (1, 1)
    k = np.ones((1, 1, 2))
    there = refnn.conv1d(np.array([[[1.0, 2, 3, 4]]]), k)
    assert there.tolist() == [[[3, 5, 7]]]
    assert refnn.conv_transpose1d(there, k).tolist() == [[[3, 8, 12, 7]]]


def test_a_locally_connected_layer_with_tied_weights_is_a_convolution() -> None:
    x, w, b = whole(2, 3, 7, 6), whole(4, 3, 3, 2), whole(4)
    y = refnn.conv2d(x, w, b, stride=(2, 1))
    tied = np.broadcast_to(w[:, :, None, None], (4, 3, *y.shape[2:], 3, 2))
    own = refnn.locally_connected2d(x, tied, np.broadcast_to(b[:, None, None], y.shape[1:]), stride=(2, 1))
    assert np.array_equal(own, y)
    g = whole(*y.shape, seed=1)
    gx, gw, gb = refnn.conv2d.vjp(g, x, w, b, stride=(2, 1))
    ox, ow, ob = refnn.locally_connected2d.vjp(g, x, np.array(tied), np.zeros(y.shape[1:]), stride=(2, 1))
    assert np.array_equal(ox, gx)
    assert np.array_equal(ow.sum((2, 3)), gw)
    assert np.array_equal(ob.sum((1, 2)), gb)


def test_fractions_give_the_sums_themselves() -> None:
    ar = Fractions()
    x, w = (ar.array(np.asarray(v)) for v in ([[[0.1, 0.2, 0.3]]], [[[0.7, 0.9]]]))
    y = refnn.conv1d.forward_definition(ar, x, w, padding=1)
    assert y[0, 0, 1] == Fraction(0.1) * Fraction(0.7) + Fraction(0.2) * Fraction(0.9)
    assert y[0, 0, 0] == Fraction(0.1) * Fraction(0.9)


# --- classes ---------------------------------------------------------------------------------------------------------


def interpolation(m: int) -> tuple[list[list[Fraction]], ...]:
    """A^T, G and B^T of F(m, 3) by polynomials: interpolation at 0, 1, -1, 2, -2, ... and infinity (Toom and Cook)."""
    points = [Fraction(p) for p in ("0", "1", "-1", "2", "-2", "1/2", "-1/2")][: m + 1]

    def times_roots(roots: list[Fraction]) -> list[Fraction]:
        found = [Fraction(1)]
        for root in roots:
            found = [a - root * b for a, b in zip([Fraction(0), *found], [*found, Fraction(0)], strict=True)]
        return [*found, *[Fraction(0)] * (m + 2 - len(found))]

    at = [[*(p**i for p in points), Fraction(i == m - 1)] for i in range(m)]
    norms = [math.prod((p - q for q in points if q != p), start=Fraction(1)) for p in points]
    g = [
        *([p**k / n for k in range(3)] for p, n in zip(points, norms, strict=True)),
        [Fraction(k == 2) for k in range(3)],
    ]
    bt = [*(times_roots([q for q in points if q != p]) for p in points), times_roots(points)]
    return at, g, bt


def tiles_of(x: np.ndarray, before: tuple[int, int], rows: int, columns: int, m: int) -> np.ndarray:
    """(N, C, rows, columns, m + 2, m + 2): overlapping tiles of x with zeros around it."""
    around = np.zeros((*x.shape[:2], m * rows + 2, m * columns + 2), x.dtype)
    h, w = (min(n, k - b) for n, k, b in zip(x.shape[2:], around.shape[2:], before, strict=True))
    around[:, :, before[0] : before[0] + h, before[1] : before[1] + w] = x[:, :, :h, :w]
    found = [[around[:, :, i : i + m + 2, j : j + m + 2] for j in m * np.arange(columns)] for i in m * np.arange(rows)]
    return np.stack([np.stack(row, 2) for row in found], 2)


def winograd(m: int) -> Any:
    """F(m x m, 3 x 3) in the dtype of x, one group: Lavin and Gray's algorithm 1, in its own order of operations."""

    def convolved(x: np.ndarray, w: np.ndarray, before: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
        at, gt, bt = (np.array([[float(v) for v in row] for row in part]).astype(x.dtype) for part in interpolation(m))
        d = tiles_of(x, before, -(-size[0] // m), -(-size[1] // m), m)
        u, v = gt @ w @ gt.T, bt @ d @ bt.T
        total = np.zeros((len(x), len(w), *v.shape[2:]), x.dtype)
        for c in range(x.shape[1]):
            total += u[None, :, c, None, None] * v[:, None, c]
        y = at @ total @ at.T  # (N, O, rows, columns, m, m)
        whole = y.transpose(0, 1, 2, 4, 3, 5).reshape(*total.shape[:2], m * total.shape[2], m * total.shape[3])
        return np.ascontiguousarray(whole[:, :, : size[0], : size[1]])

    return convolved


def fft(x: np.ndarray, w: np.ndarray, before: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """The product of float32 transforms (SciPy and NumPy keep the precision), for stride 1."""
    n = [2 ** (a + b).bit_length() for a, b in zip(x.shape[2:], w.shape[2:], strict=True)]
    single = np.complex64 if x.dtype == np.float32 else np.complex128
    fx = np.fft.fftn(x.astype(single), n, axes=(2, 3)).astype(single)
    fw = np.fft.fftn(w[:, :, ::-1, ::-1].astype(single), n, axes=(2, 3)).astype(single)
    whole = np.fft.ifftn(np.einsum("ncij,ocij->noij", fx, fw), axes=(2, 3)).real.astype(x.dtype)
    first = [k - 1 - b for k, b in zip(w.shape[2:], before, strict=True)]
    return np.ascontiguousarray(whole[:, :, first[0] : first[0] + size[0], first[1] : first[1] + size[1]])


def by(algorithm: Any, x: np.ndarray, w: np.ndarray, b: Any, *, padding: int) -> np.ndarray:
    size = tuple(n + 2 * padding - 2 for n in x.shape[2:])
    y = algorithm(x, w, (padding, padding), size)
    return y if b is None else y + b[:, None, None]


def gradients(algorithm: Any, g: np.ndarray, x: np.ndarray, w: np.ndarray, b: Any, *, padding: int) -> Any:
    """That of x by the same algorithm, from the kernels turned around; those of weight and bias are direct."""
    turned = np.ascontiguousarray(w[:, :, ::-1, ::-1].swapaxes(0, 1))
    gx = algorithm(g, turned, (2 - padding, 2 - padding), x.shape[2:])
    _, gw, gb = refnn.conv2d.vjp(g, x, w, b, padding=padding)
    return gx, gw, gb


def drawn(dtype: Any, decades: int) -> list[dict[str, Any]]:
    """Images whose cells differ in size: the transforms mix them, and lose digits that a direct sum keeps."""
    rng = np.random.default_rng(0)
    found = []
    for n, c, o, h, w in ((2, 3, 4, 9, 12), (1, 8, 3, 16, 15), (3, 1, 2, 5, 5)):
        scales = 10.0 ** rng.integers(-decades, decades + 1, (n, c, h, w))
        x = (rng.normal(size=(n, c, h, w)) * scales).astype(dtype)
        arrays = (x, rng.normal(size=(o, c, 3, 3)).astype(dtype), rng.normal(size=o).astype(dtype))
        found.append({"inputs": arrays, "params": {"padding": int(rng.integers(0, 3))}})
    return found


def checked(implementation: Any, dtype: str, decades: int = 4, **options: Any) -> refnn.Report:
    def forward(x: Any, w: Any, b: Any, **params: Any) -> Any:
        return by(implementation, x, w, b, padding=params["padding"])

    def vjp(g: Any, x: Any, w: Any, b: Any, **params: Any) -> Any:
        return gradients(implementation, g, x, w, b, padding=params["padding"])

    return refnn.check("conv2d", forward=forward, vjp=vjp, dtype=dtype, inputs=drawn(dtype, decades), **options)


ALGORITHMS = {"winograd": winograd(2), "winograd 4x4": winograd(4), "winograd 6x6": winograd(6), "fft": fft}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_another_sound_algorithm_is_explained_by_its_name(name: str, dtype: str) -> None:
    report = checked(ALGORITHMS[name], dtype)
    names = {(f.verdict, f.name) for f in report.findings}
    assert ("explained", name) in names
    assert {v for v, _ in names} == {"explained"}
    own = checked(ALGORITHMS[name], dtype, algorithm=name)
    assert own.ok, str(own)
    assert 0 < own.worst_ratio < 1


@pytest.mark.parametrize("name", ALGORITHMS)
def test_what_is_wrong_is_no_class(name: str) -> None:
    algorithm = ALGORITHMS[name]

    def one_tap_less(x: np.ndarray, w: np.ndarray, *rest: Any) -> np.ndarray:
        return algorithm(x, np.where(np.arange(9).reshape(3, 3) == 5, 0, w), *rest)

    def one_percent_more(x: np.ndarray, *rest: Any) -> np.ndarray:
        return algorithm(x * x.dtype.type(1.01), *rest)

    def a_little_more(x: np.ndarray, *rest: Any) -> np.ndarray:
        return algorithm(x * x.dtype.type(1.0001), *rest)

    for wrong in (one_tap_less, one_percent_more, a_little_more):
        assert checked(wrong, "float32", decades=0).verdict == "violation"
    assert checked(algorithm, "float32", decades=0, accept=("explained",)).ok


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_transforms_are_expected_to_err_as_they_do(dtype: str) -> None:
    """The deviation of the class covers the root mean square of a transform's errors, within a factor of 16."""
    rng = np.random.default_rng(0)
    for n, c, o, size in ((2, 3, 4, (9, 7)), (1, 32, 8, (30, 30)), (2, 4, 3, (64, 61))):
        x, w = rng.normal(size=(n, c, *size)).astype(dtype), rng.normal(size=(o, c, 3, 3)).astype(dtype)
        allowed = refnn.allowance("conv2d", x, w, None, padding=1, model=dtype, algorithm="fft").output
        truth = refnn.truth("conv2d", x, w, None, padding=1).output
        assert truth is not None
        error = np.abs((fft(x, w, (1, 1), size) - truth.value) - truth.low)
        ratio = np.sqrt(np.mean((error / allowed.expected) ** 2))
        print(
            f"{dtype} {n}x{c}x{size}: rms of error/expected {ratio:.2g}, {(error / allowed.worst).max():.2g} of worst"
        )
        assert 1 / 16 < ratio < 1
        assert (error < allowed.worst).all()


@pytest.mark.parametrize("name", ["conv2d", "conv_transpose2d"])
def test_transforms_mix_no_groups_and_no_samples(name: str) -> None:
    """What is a million times as large in one group leaves the bounds of the other as they are."""
    rng = np.random.default_rng(0)
    shape = (4, 3, 3, 2) if name == "conv_transpose2d" else (6, 2, 3, 2)
    x, w = rng.normal(size=(2, 4, 6, 5)), rng.normal(size=shape)
    y = refnn.ops[name](x, w, groups=2)
    g = rng.normal(size=y.shape)
    bounds = []
    for factor in (1.0, 2.0**20):
        half = np.where(np.arange(len(w)) < len(w) // 2, 1, factor)[:, None, None, None]
        given = {"groups": 2, "cotangent": g, "model": "float64", "algorithm": "fft"}
        a = refnn.allowance(name, x, w * half, None, **given)
        sample = refnn.allowance(name, x * np.array([1, factor])[:, None, None, None], w, None, **given)
        assert a.grads[0] is not None and a.grads[1] is not None
        first = [b[:, : b.shape[1] // 2] for b in (a.output.worst, a.output.expected, a.grads[0].worst)]
        bounds.append([*first, a.grads[1].worst, sample.output.worst[0], sample.output.expected[0]])
    for one, other in zip(*bounds, strict=True):
        assert np.array_equal(one, other)


def test_winograd_is_the_direct_sum_where_it_does_not_apply() -> None:
    rng = np.random.default_rng(0)
    for shape, params in (((4, 3, 3, 2), {}), ((4, 3, 3, 3), {"stride": 2}), ((4, 3, 3, 3), {"padding": 3})):
        x, w = rng.normal(size=(2, 3, 7, 6)), rng.normal(size=shape)
        direct = refnn.allowance("conv2d", x, w, cotangent=refnn.conv2d(x, w, **params), **params)
        other = refnn.allowance(
            "conv2d", x, w, cotangent=refnn.conv2d(x, w, **params), algorithm="winograd 6x6", **params
        )
        for a, b in zip((direct.output, *direct.grads), (other.output, *other.grads), strict=True):
            assert (a is None and b is None) or np.array_equal(a.worst, b.worst)
    x, w = rng.normal(size=(2, 3, 7, 6)), rng.normal(size=(4, 3, 3, 3))
    names = ("accurate", "winograd", "winograd 4x4", "winograd 6x6")
    bounds = [np.median(refnn.allowance("conv2d", x, w, algorithm=a).output.worst) for a in names]
    assert all(larger > smaller for smaller, larger in itertools.pairwise(bounds))


# --- infinities next to padding --------------------------------------------------------------------------------------


def with_infinities(formed: bool) -> tuple[Any, Any]:
    """A convolution that multiplies the zeros of its padding by every weight, or one that leaves them out."""

    def forward(x: Any, w: Any, b: Any = None, **params: Any) -> Any:
        y = refnn.conv1d(x, w, b, **params)
        if formed:
            return y
        bare = refnn.conv1d(x, np.where(np.isfinite(w), w, 0), b, **params)
        odd = refnn.conv1d(np.ones_like(x), (~np.isfinite(w)).astype(w.dtype), None, **params) > 0
        return np.where(odd, y, bare)

    return forward, None


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("weight", [np.inf, -np.inf, np.nan])
def test_infinity_times_padding_is_nan_or_left_out(weight: float, dtype: str) -> None:
    x = np.array([[[1.5, -2.0, 3.0, 0.25]]], dtype)
    w = np.array([[[weight, 1.0, 0.5]]], dtype)
    case = {"inputs": (x, w), "params": {"padding": 2}}
    for formed in (True, False):
        forward, _ = with_infinities(formed)
        report = refnn.check("conv1d", forward=forward, dtype=dtype, inputs=case)
        assert report.ok, str(report)

    def zeros(*arrays: Any, **params: Any) -> Any:  # the infinity itself must not be lost
        return np.nan_to_num(refnn.conv1d(*arrays, **params), posinf=0, neginf=0)

    def everywhere(*arrays: Any, **params: Any) -> Any:  # nor may NaN come where no padding is
        return refnn.conv1d(*arrays, **params) * np.nan

    for wrong in (zeros, everywhere) if np.isinf(weight) else (zeros,):
        assert refnn.check("conv1d", forward=wrong, dtype=dtype, inputs=case).verdict == "special"


def test_rows_of_the_table_take_both_and_nothing_else() -> None:
    rules, seen = model("float32"), 0
    for case in cases("conv2d", "float32", families=["special"], where={"padding": (0, 1)}):
        for first, verdict in ((1.0, "exact"), (np.nan, "exact"), (0.0, "violation"), (np.inf, "special")):
            y = np.array([[[[first, case.inputs[1][0, 0, 0, 0]]]]], np.float32)
            results, *_ = check_case(case, lambda *a, y=y, **p: y, None, rules)
            assert verdict in results[0].verdicts, (first, results[0].verdicts)
            seen += 1
    assert seen == 12


def stuffed(x: Any, w: Any, b: Any = None, *, stride: int, padding: int, **params: Any) -> Any:
    """A transposed convolution as textbooks draw it: zeros between the elements of x and around them, and then a
    convolution with the kernels turned around."""
    n, c, length = x.shape
    wide = np.zeros((n, c, (length - 1) * stride + 1), x.dtype)
    wide[..., ::stride] = x
    kernels = np.ascontiguousarray(w[..., ::-1].swapaxes(0, 1))
    return refnn.conv1d(wide, kernels, b, padding=w.shape[2] - 1 - padding)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_transposed_convolution_may_multiply_the_zeros_that_it_puts_in(dtype: str) -> None:
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(2, 3, 5)).astype(dtype), rng.normal(size=(3, 2, 4)).astype(dtype)
    w[1, 0, 2] = np.inf  # of the first output channel alone
    case = {"inputs": (x, w), "params": {"stride": 3, "padding": 1}}
    with np.errstate(invalid="ignore"):
        y = stuffed(x, w, stride=3, padding=1)
        assert np.isnan(y[:, 0]).any() and not np.isnan(refnn.conv_transpose1d(x, w, stride=3, padding=1)[:, 0]).all()
    assert refnn.check("conv_transpose1d", forward=stuffed, dtype=dtype, inputs=case).ok

    def other_channel(*arrays: Any, **params: Any) -> Any:
        y = stuffed(*arrays, **params)
        y[:, 1] = np.nan
        return y

    assert refnn.check("conv_transpose1d", forward=other_channel, dtype=dtype, inputs=case).verdict == "special"
