"""The storage record: what is computed from it, exactly, and that nothing else is."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import sympy
from exactly import autograd, fractions, quarters, same

import refnn
from refnn.arithmetic.windows import windows_over
from refnn.networks.network import Network, Node, mlp
from refnn.teaching import storage
from refnn.teaching.storage import (
    Conv,
    Dense,
    Flatten,
    Input,
    Layer,
    MaxPool,
    backward,
    conv,
    delta,
    dense,
    flatten,
    forward,
    max_pool,
    source,
)

LOSS = "half_squared_error"
WIDTHS, S = (3, 4, 3, 4, 2), 6


def pairs_of(net: list[Layer]) -> list[tuple[str, Dense | Conv]]:
    """The layers that have weights, with the names of their nodes in a network."""
    convs, denses = ([x for x in net if isinstance(x, kind)] for kind in (Conv, Dense))
    return [*((f"conv{n}", x) for n, x in enumerate(convs, 1)), *((f"fc{n}", x) for n, x in enumerate(denses, 1))]


def gradients(net: list[Layer], samples: int) -> dict[str, np.ndarray]:
    """dW and dB, divided by S, under the names of the network's parameters."""
    named = pairs_of(net)
    return {f"{n}.weight": x.dW / samples for n, x in named} | {f"{n}.bias": x.dB / samples for n, x in named}


def fully_connected(params: dict[str, np.ndarray], g: str = "relu", last: str = "identity") -> list[Layer]:
    """The record of an mlp with these parameters."""
    depth = len(params) // 2
    net: list[Layer] = [source(params["fc1.weight"].shape[1], dtype=params["fc1.weight"].dtype)]
    for n in range(1, depth + 1):
        net.append(dense(net[-1], params[f"fc{n}.weight"], params[f"fc{n}.bias"], g if n < depth else last))
    return net


def example(widths: tuple[int, ...] = WIDTHS, samples: int = S) -> tuple[Any, ...]:
    """Quarters: parameters of an mlp, samples and targets."""
    sizes = {f"fc{n}": (m, k) for n, (k, m) in enumerate(itertools.pairwise(widths), 1)}
    params = {f"{fc}.weight": quarters(n, *size) for n, (fc, size) in enumerate(sizes.items())}
    params |= {f"{fc}.bias": quarters(20 + n, size[0]) for n, (fc, size) in enumerate(sizes.items())}
    return params, quarters(40, samples, widths[0]), quarters(41, samples, widths[-1])


def back(net: list[Layer], x: np.ndarray, t: np.ndarray, **kwargs: Any) -> int:
    """All samples forward and back; the number of products."""
    products = 0
    for sample, target in zip(x, t, strict=True):
        forward(net, sample)
        delta(net, target)
        products += backward(net, **kwargs)
    return products


# --- fully connected -------------------------------------------------------------------------------------------------


def printed_biases(net: list[Layer], x: np.ndarray, t: np.ndarray) -> list[np.ndarray]:
    """dB by (26) and (27) as printed, where the brace names the sum dLa, without the mask; for each layer."""
    totals = [0 * layer.dB for _, layer in pairs_of(net)]
    for sample, target in zip(x, t, strict=True):
        forward(net, sample)
        delta(net, target)
        dLa = net[-1].dLa
        for n in range(len(net) - 1, 0, -1):
            totals[n - 1] = totals[n - 1] + dLa
            dLa = dLa @ net[n].W
    return totals


@pytest.mark.system("S10")
@pytest.mark.parametrize("widths", [WIDTHS, (2, 3), (5, 1, 4), (2, 3, 3, 3, 3, 2)], ids=str)
def test_backpropagation_by_stored_deltas(widths: tuple[int, ...]) -> None:
    """Exactly PyTorch's gradient; with the deltas as printed, the biases below the last layer get another."""
    params, x, t = example(widths)
    truth = autograd(mlp(widths), params, x, target=t, loss=LOSS)
    net = fully_connected(fractions(params))
    back(net, fractions(x), fractions(t))
    assert same(gradients(net, S), {name: truth[name] for name in gradients(net, S)})
    printed = printed_biases(fully_connected(fractions(params)), fractions(x), fractions(t))
    for n, total in enumerate(printed, 1):
        assert (total / S == truth[f"fc{n}.bias"]).all() == (n == len(printed)), f"layer {n}"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("g", "algorithm"), [("relu", "accurate"), ("tanh", "textbook")])
def test_in_floats_it_conforms(dtype: str, g: str, algorithm: str) -> None:
    """Within the bounds that refnn derives; the slope of tanh is 1 - x^2 here, which is a class of its own."""
    net = mlp(WIDTHS, activation=g)
    rng = np.random.default_rng(3)
    params, x, _ = example()
    params = {name: rng.normal(size=v.shape).astype(dtype) for name, v in params.items()}

    def run(params: Any, x: np.ndarray) -> np.ndarray:
        record = fully_connected(params, g)
        return np.array([forward(record, sample).copy() for sample in x])

    def pull(cotangent: np.ndarray, params: Any, x: np.ndarray) -> dict[str, np.ndarray]:
        record = fully_connected(params, g)
        for sample, d in zip(x, cotangent, strict=True):
            forward(record, sample)
            record[-1].dLa[...] = d
            backward(record)
        return gradients(record, 1)

    given = {"inputs": (rng.normal(size=x.shape).astype(dtype),), "params": params}
    given["cotangent"] = rng.normal(size=(S, 2)).astype(dtype)
    report = refnn.check(net, forward=run, vjp=pull, dtype=dtype, inputs=given, algorithm=algorithm)
    assert report.ok, str(report)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_softmax_and_its_delta_conform(dtype: str) -> None:
    """y, and y sum t - t for targets that need not sum to one; the logits are biases, so that they come in exactly."""

    def layers(x: np.ndarray) -> Iterator[list[Layer]]:
        for row in x.reshape(-1, x.shape[-1]):
            net: list[Layer] = [source(1, dtype=x.dtype)]
            net.append(dense(net[0], np.zeros((len(row), 1), x.dtype), row, "softmax"))
            with np.errstate(all="ignore"):
                forward(net, np.zeros(1))
            yield net

    def softmax(x: np.ndarray, *, axis: int) -> np.ndarray:
        return np.array([net[-1].X for net in layers(x)], x.dtype).reshape(x.shape)

    def deltas(g: np.ndarray, x: np.ndarray, t: np.ndarray, **params: Any) -> tuple[np.ndarray, Any]:
        rows = []
        for net, target in zip(layers(x), t, strict=True):
            delta(net, target)
            rows.append(net[-1].dLa * g)
        return np.array(rows), refnn.ops["cross_entropy"].vjp(g, x, t, **params)[1]

    report = refnn.check("softmax", forward=softmax, dtype=dtype, where={"axis": -1})
    assert report.ok, str(report)
    summed = {"reduction": "sum", "weight": None, "label_smoothing": 0.0, "ignore_index": -100}
    ours = refnn.ops["cross_entropy"]
    report = refnn.check(ours, forward=ours, vjp=deltas, dtype=dtype, where=summed, families=["normal", "large"])
    assert report.ok and report.elements, str(report)


def test_targets_need_not_sum_to_one() -> None:
    """challa2023 (16) rather than (17)."""
    net: list[Layer] = [source(1)]
    net.append(dense(net[0], np.zeros((3, 1)), np.log([1.0, 2.0, 1.0]), "softmax"))
    y = forward(net, np.zeros(1)).copy()
    delta(net, np.array([1.0, 1.0, 0.0]))
    assert net[1].dLa.tobytes() == (2 * y - [1, 1, 0]).tobytes()


# --- the neat trick --------------------------------------------------------------------------------------------------


def stored(net: list[Layer]) -> bytes:
    """Every bit of the gradients, and of the deltas of layers that have an activation."""
    named = [x for _, x in pairs_of(net)]
    arrays = [a for x in named for a in (x.dW, x.dB, x.dFLa if isinstance(x, Conv) else x.dLa)]
    return b"".join(a.tobytes() for a in arrays)


def sequence(dtype: Any = np.float64, seed: int = 0) -> tuple[list[Layer], np.ndarray, np.ndarray]:
    """Two convolutions with a pool between them, flatten, two dense layers; random numbers."""
    rng = np.random.default_rng(seed)
    net: list[Layer] = [source(2, 11, dtype=dtype)]
    net.append(conv(net[-1], *(rng.normal(size=n).astype(dtype) for n in ((3, 2, 3), 3)), stride=2, padding=1))
    net.append(max_pool(net[-1], 2, stride=1))
    net.append(conv(net[-1], *(rng.normal(size=n).astype(dtype) for n in ((2, 3, 3), 2)), padding="same"))
    net.append(flatten(net[-1]))
    net.append(dense(net[-1], *(rng.normal(size=n).astype(dtype) for n in ((5, 10), 5))))
    net.append(dense(net[-1], *(rng.normal(size=n).astype(dtype) for n in ((3, 5), 3)), "softmax"))
    return net, rng.normal(size=(S, 2, 11)).astype(dtype), np.eye(3, dtype=dtype)[rng.integers(0, 3, S)]


def dense_network(dtype: Any = np.float64) -> tuple[list[Layer], np.ndarray, np.ndarray]:
    rng = np.random.default_rng(4)
    params = {name: rng.normal(size=v.shape).astype(dtype) for name, v in example((3, 9, 8, 7, 2))[0].items()}
    return fully_connected(params), *(rng.normal(size=(S, n)).astype(dtype) for n in (3, 2))


def products(net: list[Layer], skip_dead: bool) -> int:
    """How many products the sums for dLa take, counted from the record: links from live nodes, or from all."""
    links = 0
    for layer, above in itertools.pairwise(net[1:]):
        x = storage.values(layer)
        for place in np.ndindex(x.shape):
            if x[place] > 0 or not skip_dead:
                if isinstance(above, Dense):
                    links += len(above.X)
                elif isinstance(above, Conv):
                    channels, Q = above.fx.shape
                    met = [(q, c) for q in range(Q) for c in range(above.fw.shape[2])]
                    links += channels * sum(above.s * q + c - above.p == place[1] for q, c in met)
    return links


@pytest.mark.system("S11")
@pytest.mark.parametrize("make", [dense_network, sequence], ids=lambda f: f.__name__)
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda t: t.__name__)
def test_the_neat_trick(make: Callable[[Any], tuple[list[Layer], np.ndarray, np.ndarray]], dtype: Any) -> None:
    """The same bits for fewer products: of samples one after the other, so that nodes die that were alive."""
    (net, x, t), (thrifty, *_) = make(dtype), make(dtype)
    died = 0
    for sample, target in zip(x, t, strict=True):
        before = [storage.values(layer) > 0 for layer in thrifty[1:-1]]
        done = []
        for record, skip_dead in ((net, False), (thrifty, True)):
            forward(record, sample)
            delta(record, target)
            done.append(backward(record, skip_dead=skip_dead))
            assert done[-1] == products(record, skip_dead)
        assert done[1] < done[0] and stored(net) == stored(thrifty)
        after = [storage.values(layer) > 0 for layer in thrifty[1:-1]]
        died += sum(int((b & ~a).sum()) for b, a in zip(before, after, strict=True))
    assert died, "no node was alive in one sample and dead in the next"


@pytest.mark.system("S11")
@pytest.mark.parametrize("g", ["tanh", "identity"])
def test_the_neat_trick_is_for_relu_only(g: str) -> None:
    params, x, t = example((2, 3, 2), 1)
    net = fully_connected(params, g)
    with pytest.raises(
        ValueError, match=f"^layer 1 has {g}: only relu, whose slope is 0 where it is 0, has dead nodes"
    ):
        back(net, x, t, skip_dead=True)
    assert back(net, x, t) == 6


# --- what is stored --------------------------------------------------------------------------------------------------

NAMES = {
    Input: "X",
    Dense: "B W X dLa dW dB D",
    Conv: "B fw fx dFLa dW dB D",
    MaxPool: "fx dFLa switch",
    Flatten: "X dLa",
}


@pytest.mark.system("S18")
def test_backward_reads_nothing_but_the_record() -> None:
    """The names are the sources'; of a copied record, backward reads W, X and D, and dLa once it is written there."""
    net, x, t = sequence()
    settings = {"g", "s", "p", "taps"}  # of a layer, not numbers of its nodes
    for layer in net:
        assert {f.name for f in dataclasses.fields(layer)} - settings == set(NAMES[type(layer)].split())
    forward(net, x[0])
    delta(net, t[0])
    read: set[str] = set()

    def spied(layer: Layer) -> Layer:
        """A copy that says what is read of it, in which all is NaN that backward has to write, or has no need of."""

        class Spy(type(layer)):  # type: ignore[misc]
            def __getattribute__(self, name: str) -> Any:
                read.add(f"{type(layer).__name__}.{name}")
                return super().__getattribute__(name)

        own = {f.name: getattr(layer, f.name) for f in dataclasses.fields(layer)}
        for name in {"B", "dLa", "dFLa"} & set(own):
            if layer is not net[-1] or name == "B":
                own[name] = np.full_like(own[name], np.nan)
        return Spy(**{n: v.copy() if isinstance(v, np.ndarray) else v for n, v in own.items()})

    copies = [spied(layer) for layer in net]
    backward(copies)
    backward(net)
    assert stored(copies) == stored(net)
    wanted = {f"{kind.__name__}.{name}" for kind, names in NAMES.items() for name in [*names.split(), *settings]}
    assert {name for name in read if "__" not in name} <= wanted - {"Dense.B", "Conv.B"}


@pytest.mark.system("S19")
def test_gradients_come_first_and_then_the_update() -> None:
    """challa2023, what a node stores: with weights that have been updated on the way, the deltas below would change."""
    params, x, t = example()
    rate = fractions(np.array(0.125))[()]
    net = fully_connected(fractions(params))
    back(net, fractions(x), fractions(t))
    at_rest = {f"{name}.{part}": w for name, x in pairs_of(net) for part, w in (("weight", x.W), ("bias", x.B))}
    assert same(at_rest, fractions(params)), "backward has changed a weight"
    truth = autograd(mlp(WIDTHS), params, x, target=t, loss=LOSS)
    storage.update(net, rate, S)
    assert same(at_rest, {name: fractions(params[name]) - rate * truth[name] for name in at_rest})
    assert not any(layer.dW.any() or layer.dB.any() for _, layer in pairs_of(net))

    leaky = fully_connected(fractions(params))
    forward(leaky, fractions(x[0]))
    delta(leaky, fractions(t[0]))
    backward(leaky)
    right = leaky[-2].dLa.copy()
    leaky[-1].W[...] -= rate * leaky[-1].dW
    backward(leaky)
    assert (leaky[-2].dLa != right).any(), "the deltas do not depend on when the weights above move"


# --- convolutions ----------------------------------------------------------------------------------------------------

LINES = {  # length of the input; taps, stride and padding of either convolution
    "valid": (9, (3, 1, 0), (3, 1, 0)),
    "one window": (5, (3, 1, 0), (3, 1, 0)),
    "longer second filter": (8, (2, 1, 0), (4, 1, 0)),
    "one tap": (4, (1, 1, 0), (2, 1, 0)),
}
SLIDES = {  # seven strides and paddings; some leave cells of the input or of the padding unused
    "stride 2": (9, (3, 2, 0), (3, 1, 0)),
    "padding 1": (7, (3, 1, 1), (2, 1, 0)),
    "stride 2, padding 1": (9, (3, 2, 1), (3, 2, 1)),
    "stride 3, padding 2, even taps": (8, (4, 3, 2), (2, 1, 1)),
    "same": (7, (4, 1, "same"), (3, 1, "same")),
    "stride beyond the taps": (10, (2, 3, 0), (1, 2, 0)),
    "full": (5, (3, 1, 2), (5, 1, 4)),
}


FORMS = {"windows_over": windows_over, "taps_form": storage.taps_form}


def line(
    length: int, *convs: tuple[int, int, int | str], pool: tuple[int, int | None] | None = None
) -> tuple[list[Layer], Network, Any, Any, Any]:
    """2 channels to 3 and, with a second convolution, to 2, then flatten and a dense layer: record and network, with
    quarters as parameters, samples and targets. A pool of so many taps and that stride may follow the first."""
    net: list[Layer] = [source(2, length, dtype=object)]
    nodes, params, x = [], {}, "x"
    for n, ((taps, stride, padding), (channels, below)) in enumerate(zip(convs, ((3, 2), (2, 3)), strict=False), 1):
        params |= {f"conv{n}.weight": quarters(n, channels, below, taps), f"conv{n}.bias": quarters(n + 9, channels)}
        own = {name: fractions(v) for name, v in params.items()}
        layer = conv(net[-1], own[f"conv{n}.weight"], own[f"conv{n}.bias"], stride=stride, padding=padding)
        net.append(layer)
        settings = {"stride": stride, "padding": padding}
        nodes.append(Node(f"conv{n}", "conv1d", (x, f"conv{n}.weight", f"conv{n}.bias"), settings))
        nodes.append(Node(f"relu{n}", "relu", (f"conv{n}",)))
        x = f"relu{n}"
        if pool and n == 1:
            net.append(max_pool(net[-1], pool[0], stride=pool[1]))
            nodes.append(Node("pool", "max_pool1d", (x,), {"kernel_size": pool[0], "stride": pool[1]}))
            x = "pool"
    net.append(flatten(net[-1]))
    params |= {"fc1.weight": quarters(30, 2, storage.values(net[-1]).size), "fc1.bias": quarters(31, 2)}
    net.append(dense(net[-1], *(fractions(params[f"fc1.{name}"]) for name in ("weight", "bias")), "identity"))
    nodes += [Node("flatten", "flatten", (x,)), Node("fc1", "linear", ("flatten", "fc1.weight", "fc1.bias"))]
    return net, Network(nodes), params, quarters(40, S, 2, length), quarters(41, S, 2)


def truth_of(given: tuple[Any, ...]) -> dict[str, np.ndarray]:
    _, network, params, x, t = given
    return autograd(network, params, x, target=t, loss=LOSS)


def proved(given: tuple[Any, ...], truth: dict[str, np.ndarray]) -> bool:
    """Whether the record's gradient of the batch is PyTorch's, exactly."""
    net, _, _, x, t = given
    back(net, fractions(x), fractions(t))
    found = gradients(net, S)
    return same(found, {name: truth[name] for name in found})


@pytest.mark.system("S23")
@pytest.mark.parametrize("name", LINES)
def test_from_flatten_into_a_convolution(name: str) -> None:
    """Exactly PyTorch's gradient; the bias by (36) as printed, the sum of the flatten layer's dLa, is another."""
    length, first, _ = LINES[name]
    given = line(length, first)
    truth = truth_of(given)
    assert proved(given, truth)
    net, _, _, x, t = given
    _, layer, flat, _ = net
    _, Q = layer.fx.shape
    printed = 0 * layer.B
    for sample, target in zip(fractions(x), fractions(t), strict=True):
        back(net, sample[None], target[None])
        for j, q in np.ndindex(layer.fx.shape):
            assert layer.dFLa[j, q] == flat.dLa[Q * j + q] * (layer.fx[j, q] > 0)
            printed[j] += flat.dLa[Q * j + q]
    assert (printed / S != truth["conv1.bias"]).any()


@pytest.mark.system("S24")
@pytest.mark.parametrize("name", LINES)
@pytest.mark.parametrize("form", FORMS)
def test_from_one_convolution_into_another(name: str, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exactly PyTorch's gradient, by outputs and by taps."""
    monkeypatch.setattr(storage, "windows_over", FORMS[form])
    given = line(*LINES[name])
    assert proved(given, truth_of(given))


@pytest.mark.parametrize("length", range(2, 9))
def test_two_convolutions_of_every_size(length: int) -> None:
    """Each pair of filters that fits, one sample: 119 shapes in all."""
    fitting = [(a, b) for a in range(1, length + 1) for b in range(1, length - a + 2)]
    assert len(fitting) == length * (length + 1) // 2
    for first, second in fitting:
        net, network, params, x, t = line(length, (first, 1, 0), (second, 1, 0))
        back(net, fractions(x[:1]), fractions(t[:1]))
        truth, found = autograd(network, params, x[:1], target=t[:1], loss=LOSS), gradients(net, 1)
        assert same(found, {name: truth[name] for name in found}), f"filters of {first} and {second} taps"


@pytest.mark.system("S24")
def test_both_forms_are_the_derivative_for_42_sizes() -> None:
    """dl/dfx_u of sum_q d_q sum_c fw_c fx_(q+c), in symbols, for Q up to 7 and FS up to 6."""
    for Q, FS in itertools.product(range(1, 8), range(1, 7)):
        fx, fw, d = (sympy.symbols(f"{name}:{n}") for name, n in (("x", Q + FS - 1), ("w", FS), ("d", Q)))
        loss = sum(d[q] * fw[c] * fx[q + c] for q in range(Q) for c in range(FS))
        for u, form in itertools.product(range(Q + FS - 1), FORMS.values()):
            stated = sum(d[q] * fw[c] for q, c in form(u, Q, FS))
            assert sympy.expand(sympy.diff(loss, fx[u]) - stated) == 0, f"{form.__name__}, Q = {Q}, FS = {FS}, u = {u}"


@pytest.mark.system("S25")
@pytest.mark.parametrize("name", SLIDES)
@pytest.mark.parametrize("form", FORMS)
def test_strides_and_padding(name: str, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "windows_over", FORMS[form])
    given = line(*SLIDES[name])
    assert proved(given, truth_of(given))


POOLS = {"side by side": (2, None), "overlapping": (3, 2), "every place": (2, 1), "one tap": (1, None), "gaps": (2, 3)}


@pytest.mark.system("S18")
@pytest.mark.parametrize("name", POOLS)
def test_a_pool_hands_back_by_its_switches(name: str) -> None:
    """Exactly PyTorch's gradient below a pool, next to flatten and next to a convolution; where two values are equal,
    the first has it."""
    taps, _ = POOLS[name]
    for convs in (((3, 1, 1),), ((3, 1, 1), (2, 1, 0))):
        given = line(9, *convs, pool=POOLS[name])
        assert proved(given, truth_of(given))
    net, _, _, x, t = line(9, (3, 1, 1), pool=POOLS[name])
    ties = 0
    for sample, target in zip(fractions(x), fractions(t), strict=True):
        back(net, sample[None], target[None])
        below, layer = net[1], net[2]
        for j, q in np.ndindex(layer.fx.shape):
            window = below.fx[j, layer.s * q : layer.s * q + taps].tolist()
            assert layer.switch[j, q] == layer.s * q + window.index(max(window))
            ties += window.count(max(window)) > 1 and max(window) > 0
    assert ties or taps == 1, "no two values were equal"


def test_a_pool_swallows_no_nan() -> None:
    net: list[Layer] = [source(1, 4)]
    net.append(max_pool(net[0], 4))
    for place in range(4):
        net[0].X[...] = [1, 4, 2, 3]
        net[0].X[0, place] = np.nan
        storage._pool_forward(net[0].X, net[1])
        assert np.isnan(net[1].fx).all() and net[1].switch == place


def test_the_forms_are_all_pairs_that_meet() -> None:
    for Q, FS, s, p in itertools.product(range(1, 5), range(1, 6), range(1, 4), range(4)):
        for u in range(s * (Q - 1) + FS - p):
            met = {(q, c) for q in range(Q) for c in range(FS) if s * q + c - p == u}
            for form in FORMS.values():
                pairs = form(u, Q, FS, s, p)
                assert set(pairs) == met and len(pairs) == len(met), f"{form.__name__}{(u, Q, FS, s, p)}"


def test_dropout_goes_both_ways() -> None:
    """D = 0 drops a node, D = 1/(1 - p) = 2 keeps it: exactly the gradient of the network with a mask."""
    widths = (3, 6, 5, 2)
    params, x, t = example(widths)
    plain = mlp(widths)
    drops = [Node("drop1", "dropout", ("relu1", "mask1")), Node("drop2", "dropout", ("relu2", "mask2"))]
    moved = {"relu1": "drop1", "relu2": "drop2"}
    fcs = [dataclasses.replace(n, inputs=tuple(moved.get(i, i) for i in n.inputs)) for n in plain.nodes[::2]]
    nodes = [fcs[0], plain.nodes[1], drops[0], fcs[1], plain.nodes[3], drops[1], fcs[2]]
    masks = [(quarters(60 + n, S, width) > 0).astype(float) for n, width in enumerate(widths[1:-1])]
    truth = autograd(Network(nodes, inputs=("x", "mask1", "mask2")), params, x, *masks, target=t, loss=LOSS)
    for skip_dead in (False, True):
        net = fully_connected(fractions(params))
        for k in range(S):
            for layer, mask in zip(net[1:], masks, strict=False):
                layer.D[...] = fractions(2 * mask[k])
            back(net, fractions(x[k : k + 1]), fractions(t[k : k + 1]), skip_dead=skip_dead)
        found = gradients(net, S)
        assert same(found, {name: truth[name] for name in found})


# --- bad input -------------------------------------------------------------------------------------------------------

TWO = np.ones((2, 3))
BAD: dict[str, tuple[Callable[[], Any], str]] = {
    "dense": (
        lambda: dense(source(4), TWO, np.ones(2)),
        "dense: W has shape (2, 3) and the layer below (4,), expected (J, I) and (I,)",
    ),
    "dense on channels": (lambda: dense(source(1, 3), TWO, np.ones(2)), "the layer below (1, 3), expected (J, I)"),
    "bias": (
        lambda: dense(source(3), TWO, np.ones(3)),
        "dense: B has shape (3,) and W (2, 3), expected a bias for each row of W",
    ),
    "activation": (
        lambda: dense(source(3), TWO, np.ones(2), "elu"),
        "dense: the activation is 'elu', expected one of relu, tanh, identity, softmax",
    ),
    "softmax of channels": (
        lambda: conv(source(1, 3), np.ones((1, 1, 2)), np.ones(1), "softmax"),
        "conv: the activation is 'softmax', expected one of relu, tanh, identity",
    ),
    "conv": (
        lambda: conv(source(2, 9), np.ones((1, 3, 2)), np.ones(1)),
        "conv: fw has shape (1, 3, 2) and the layer below (2, 9), expected (J, I, taps) and (I, Q)",
    ),
    "conv on nodes": (lambda: conv(source(9), np.ones((1, 1, 2)), np.ones(1)), "the layer below (9,), expected"),
    "bias of a filter": (
        lambda: conv(source(1, 9), np.ones((1, 1, 2)), np.ones(2)),
        "conv: B has shape (2,) and fw (1, 1, 2), expected a bias for each filter",
    ),
    "stride": (
        lambda: conv(source(1, 9), np.ones((1, 1, 2)), np.ones(1), stride=0),
        "conv: the stride is 0, expected 1 or more, and 1 with padding 'same'",
    ),
    "same": (
        lambda: conv(source(1, 9), np.ones((1, 1, 2)), np.ones(1), stride=2, padding="same"),
        "conv: the stride is 2, expected 1 or more, and 1 with padding 'same'",
    ),
    "taps": (
        lambda: conv(source(1, 3), np.ones((1, 1, 6)), np.ones(1), padding=1),
        "conv: padding is 1, expected 0 or more, so that 6 taps fit on 3 values",
    ),
    "padding": (
        lambda: conv(source(1, 3), np.ones((1, 1, 1)), np.ones(1), padding=-1),
        "conv: padding is -1, expected 0 or more, so that 1 taps fit on 3 values",
    ),
    "flatten": (lambda: flatten(source(3)), "flatten: the layer below has shape (3,), expected (channels, length)"),
    "pool": (
        lambda: max_pool(source(1, 3), 4),
        "max_pool: the layer below has shape (1, 3) and taps is 4, expected (I, Q) and 1 to Q",
    ),
    "pool of nodes": (lambda: max_pool(source(3), 2), "has shape (3,) and taps is 2, expected (I, Q)"),
    "no taps": (lambda: max_pool(source(1, 3), 0), "and taps is 0, expected (I, Q) and 1 to Q"),
    "stride of a pool": (
        lambda: max_pool(source(1, 3), 2, stride=0),
        "max_pool: the stride is 0, expected 1 or more",
    ),
    "sample": (
        lambda: forward(dense_network()[0], np.ones(2)),
        "the sample has shape (2,) and layer 0 (3,)",
    ),
    "target": (
        lambda: delta(dense_network()[0], np.ones(3)),
        "the target has shape (3,) and the last layer (2,)",
    ),
    "NaN": (
        lambda: forward(dense_network()[0], np.array([1, np.nan, 2])),
        "the sample[1] is nan, expected a finite number",
    ),
    "NaN target": (
        lambda: delta(dense_network()[0], np.array([1, np.nan])),
        "the target[1] is nan, expected a finite number",
    ),
    "rate": (
        lambda: storage.update(dense_network()[0], np.nan, 1),
        "the learning rate is nan, expected a finite number",
    ),
    "no samples": (
        lambda: storage.update(dense_network()[0], 0.5, 0),
        "the batch has 0 samples, expected at least 1",
    ),
    "last": (
        lambda: delta([source(3)], np.ones(3)),
        "the last layer is Input, expected Dense with softmax or identity",
    ),
    "relu last": (
        lambda: delta(fully_connected(example()[0], last="relu"), np.ones(2)),
        "the last layer is Dense with relu, expected Dense with softmax or identity",
    ),
    "hidden softmax": (
        lambda: backward(fully_connected(example()[0], "softmax")),
        "layer 1 has softmax, which only the last layer may have",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_calls_get_one_sentence(name: str) -> None:
    make, sentence = BAD[name]
    with pytest.raises(ValueError, match=re.escape(sentence)) as caught:
        make()
    assert "\n" not in str(caught.value)
