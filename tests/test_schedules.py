"""The schedules: one gradient, the costs that the sources name, and which of them agree to the bit."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import weakref
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from exactly import autograd, fractions, quarters, same

import refnn
from refnn.networks.network import Network, Node, mlp
from refnn.ops import OPS, find
from refnn.ops._shared import each_element
from refnn.teaching.schedules import SCHEDULES, Counts, Pass, checkpointed, sample_by_sample, store_all, sweep_by_sweep

frugal = functools.partial(sweep_by_sweep, frugal=True)
WHOLE, SINGLE = (store_all, checkpointed), (sweep_by_sweep, frugal, sample_by_sample)
EVERY = (*WHOLE, *SINGLE)
LOSS = "half_squared_error"
WIDTHS, S = (4, 5, 6, 5, 3), 7  # of the audit of the sources


def parameters(net: Network, shapes: Mapping[str, tuple[int, ...]], seed: int = 0) -> dict[str, np.ndarray]:
    return {name: quarters(seed + i, *shapes[name]) for i, name in enumerate(net.parameters)}


def dense(widths: tuple[int, ...] = WIDTHS, samples: int = S, **kwargs: Any) -> tuple[Any, ...]:
    """A network of these widths with quarters everywhere: net, params, x, target."""
    net = mlp(widths, **kwargs)
    sizes = {f"fc{n + 1}": (m, k) for n, (k, m) in enumerate(itertools.pairwise(widths))}
    shapes = {f"{fc}.weight": s for fc, s in sizes.items()} | {f"{fc}.bias": s[:1] for fc, s in sizes.items()}
    return net, parameters(net, shapes), quarters(50, samples, widths[0]), quarters(51, samples, widths[-1])


def exact(schedule: Callable[..., Pass], net: Network, params: Any, x: Any, target: Any, **kwargs: Any) -> Pass:
    target = target if target.dtype.kind == "i" else fractions(target)
    return schedule(net, fractions(params), fractions(x), target=target, **{"loss": LOSS, **kwargs})


# --- the three cases of the sources ----------------------------------------------------------------------------------


def proved(schedule: Callable[..., Pass]) -> Counts:
    """The costs of a schedule on the audit's network, after its gradient is shown to be PyTorch's, exactly."""
    net, params, x, target = dense()
    done = exact(schedule, net, params, x, target)
    assert same(done.grads, autograd(net, params, x, target=target, loss=LOSS))
    error = fractions(net.forward(params, x).output - target)
    assert done.loss == (error * error).sum() / 2 / S
    return done.counts


@pytest.mark.system("S14")
def test_case_1_stores_all() -> None:
    assert proved(store_all) == Counts(forward=28, backward=28, x=161, dx=133)


@pytest.mark.system("S15")
def test_case_2_goes_back_a_layer_in_each_sweep() -> None:
    assert proved(sweep_by_sweep) == Counts(forward=112, backward=28, x=23, dx=133)
    # 42 numbers are the dL/dx of the widest layer; 47 with what the first sample of the next sweep makes of its own.
    assert proved(frugal) == Counts(forward=70, backward=28, x=23, dx=7 * 6 + 5)


@pytest.mark.system("S16")
def test_case_3_goes_sample_by_sample() -> None:
    """The audit's 12 numbers are two buffers that fit any layer; 11 are there at once, in the widest neighbours."""
    counts = proved(sample_by_sample)
    assert counts == Counts(forward=28, backward=28, x=23, dx=6 + 5)
    assert counts.dx <= 2 * max(WIDTHS[1:]) == 12


@pytest.mark.parametrize("widths", [WIDTHS, (3, 2), (2, 7, 1, 4), (1, 1, 1, 1, 1, 1), (6, 5, 4, 3, 2, 1)], ids=str)
@pytest.mark.parametrize("samples", [1, 2, 5])
def test_the_table_of_costs(widths: tuple[int, ...], samples: int) -> None:
    """The formulas of the module's docstring."""
    given = dense(widths, samples)
    steps, layers, above = samples * (len(widths) - 1), len(widths) - 1, widths[1:]
    pairs = max(map(sum, itertools.pairwise(above)), default=widths[-1])
    costs = {f: exact(f, *given).counts for f in EVERY}
    assert costs[store_all] == Counts(steps, steps, samples * sum(widths), samples * sum(above))
    assert costs[sweep_by_sweep] == Counts(steps * layers, steps, sum(widths), samples * sum(above))
    assert costs[sample_by_sample] == Counts(steps, steps, sum(widths), pairs)
    sparing = costs[frugal]
    assert sparing == Counts(steps * (layers + 1) // 2, steps, sum(widths), sparing.dx)
    assert sparing.dx <= (samples + 1) * max(above)
    again = costs[checkpointed]
    assert again.forward < 2 * steps and again == Counts(again.forward, steps, again.x, samples * pairs)
    assert again.x <= samples * sum(widths)


def test_other_activations_need_their_input_too() -> None:
    """challa2023, what a node stores: x alone is enough for ReLU, tanh has a derivative of a."""
    net, params, x, target = dense(activation="tanh")
    counts = store_all(net, params, x, target=target, loss=LOSS).counts
    assert counts == Counts(28, 28, S * (4 + 2 * (5 + 6 + 5) + 3), 133)


# --- what is counted is what is there --------------------------------------------------------------------------------


class Alive:
    """The most numbers of some arrays that were there at once."""

    def __init__(self) -> None:
        self.arrays: list[weakref.ref[np.ndarray]] = []
        self.most = 0

    def see(self, made: np.ndarray) -> None:
        self.arrays.append(weakref.ref(made))
        self.most = max(self.most, sum(0 if (a := ref()) is None else a.size for ref in self.arrays))


def watched(op: str, rows: Counter[str], forward: Alive | None, vjp: Alive | None) -> refnn.Op:
    """An op that counts the rows it is called with, and keeps an eye on its outputs and on its first gradients."""
    plain = find(op)

    @functools.wraps(plain.forward_definition)
    def watched_forward(ar: Any, x: Any, *rest: Any, **params: Any) -> Any:
        y = plain.forward_definition(ar, x, *rest, **params)
        # Before the work, shapes are inferred, and two samples, one of them NaN, show whether samples are mixed.
        if ar.name == "Floats" and not np.isnan(x).any():
            rows[f"{op} forward"] += len(x)
            if forward:
                forward.see(y)
        return y

    @functools.wraps(plain.vjp_definition)
    def watched_vjp(ar: Any, g: Any, y: Any, x: Any, *rest: Any, **params: Any) -> Any:
        rows[f"{op} backward"] += len(x)
        grads = plain.vjp_definition(ar, g, y, x, *rest, **params)
        if vjp:
            vjp.see(grads[0])
        return grads

    return dataclasses.replace(plain, forward_definition=watched_forward, vjp_definition=watched_vjp)


@pytest.mark.parametrize("schedule", EVERY, ids=lambda f: getattr(f, "__name__", "frugal"))
def test_counts_are_what_is_there(schedule: Callable[..., Pass]) -> None:
    """The arrays that Python has not freed, and the rows that ops were called with, seen from outside."""
    net, params, x, target = dense()
    rows: Counter[str] = Counter()
    xs, dxs = Alive(), Alive()
    ops = {"fc1": watched("linear", rows, None, None), "fc4": watched("linear", rows, xs, dxs)}
    ops |= dict.fromkeys(("fc2", "fc3"), watched("linear", rows, None, dxs))
    ops |= dict.fromkeys(("relu1", "relu2", "relu3"), watched("relu", rows, xs, None))
    seen = Network([dataclasses.replace(node, op=ops[node.name]) for node in net.nodes])
    loss = watched(LOSS, rows, None, dxs)
    for op in (*ops.values(), loss):  # which classes an op takes over is found by running it
        list(op.algorithms)
    rows.clear()
    xs.most = dxs.most = 0
    counts = schedule(seen, params, x, target=target, loss=loss).counts
    assert (counts.forward, counts.backward) == (rows["linear forward"], rows["linear backward"])
    assert rows[f"{LOSS} backward"] == S
    assert (counts.x, counts.dx) == (xs.most + (x if schedule in WHOLE else x[0]).size, dxs.most)


# --- which bits ------------------------------------------------------------------------------------------------------


def rough(widths: tuple[int, ...] = WIDTHS, samples: int = S, dtype: Any = np.float64) -> tuple[Any, ...]:
    """A network and data whose sums round."""
    net, params, *_ = dense(widths, samples)
    rng = np.random.default_rng(7)
    arrays = {name: rng.normal(size=v.shape).astype(dtype) for name, v in params.items()}
    return net, arrays, *(rng.normal(size=(samples, widths[i])).astype(dtype) for i in (0, -1))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_within_a_pair_the_bits_are_the_same(dtype: str) -> None:
    net, params, x, target = rough((9, 17, 11, 13, 5), 33, dtype)
    whole, single = ([f(net, params, x, target=target, loss=LOSS) for f in group] for group in (WHOLE, SINGLE))
    for first, *rest in (whole, single):
        assert all(g.dtype == dtype for g in first.grads.values()) and first.loss.dtype == dtype
        assert all(same(first.grads, other.grads) and first.loss == other.loss for other in rest)
    assert not same(whole[0].grads, single[0].grads), "sums of another order, and yet no bit differs"


def test_case_1_is_the_backward_pass_of_the_network() -> None:
    net, params, x, target = rough()
    run = net.forward(params, x)
    d = run.output - target
    grads = {name: g / S for name, g in net.backward(run, d).items()}
    assert same(store_all(net, params, x, target=target, loss=LOSS).grads, grads)


def test_one_sample_has_the_same_bits_in_all() -> None:
    net, params, x, target = rough(samples=1)
    first, *rest = [f(net, params, x, target=target, loss=LOSS).grads for f in EVERY]
    assert all(same(first, other) for other in rest)


def test_where_sums_are_exact_all_bits_are_the_same() -> None:
    net, params, x, target = dense((4, 5, 3), 4)
    first, *rest = [f(net, params, x, target=target, loss=LOSS).grads for f in EVERY]
    assert all(same(first, other) for other in rest)
    assert same(fractions(first), autograd(net, params, x, target=target, loss=LOSS))


@pytest.mark.parametrize("schedule", [store_all, sample_by_sample])
def test_each_pair_is_within_the_allowance(schedule: Callable[..., Pass]) -> None:
    """Of the summed loss, as an op of the parameters; S is a power of two, so that dividing by it changes no bit."""
    net, params, x, target = rough(samples=8, dtype=np.float32)
    head = Node("loss", LOSS, (net.nodes[-1].name, "t"), {"reduction": "sum"})
    op = Network([*net.nodes, head], inputs=("x", "t")).op
    one, arrays = np.ones((), np.float32), (*(params[name] for name in net.parameters), x, target)
    truth, allowed = (f(op, *arrays, cotangent=one).grads for f in (refnn.truth, refnn.allowance))
    done = schedule(net, params, x, target=target, loss=LOSS)
    for name, true, bound in zip(net.parameters, truth, allowed, strict=False):
        error = np.abs((done.grads[name].astype(np.float64) * 8 - true.value) - true.low)
        assert (error <= bound.worst).all() and error.any()


@pytest.mark.parametrize("every", [1, 2, 3, 4])
def test_checkpoints_at_any_distance(every: int) -> None:
    net, params, x, target = rough()
    done = checkpointed(net, params, x, target=target, loss=LOSS, every=every)
    assert same(done.grads, store_all(net, params, x, target=target, loss=LOSS).grads)
    last = 4 % every or every  # layers of the last segment, which go forward once
    assert done.counts.forward == S * (4 + 4 - last)
    assert done.counts.x == S * {1: 23, 2: 4 + 6 + 5 + 3, 3: 4 + 5 + 6 + 5, 4: 23}[every]


@pytest.mark.parametrize("root", [2, 3, 4, 8])
def test_the_memory_of_checkpoints_grows_with_the_root_of_the_depth(root: int) -> None:
    """The x at the start of each segment, and those that one segment makes."""
    net, params, x, target = dense((2,) * (root**2 + 1), 3)
    counts = checkpointed(net, params, x, target=target, loss=LOSS).counts
    assert counts == Counts(forward=3 * (2 * root**2 - root), backward=3 * root**2, x=3 * 2 * 2 * root, dx=3 * 2 * 2)


# --- any network -----------------------------------------------------------------------------------------------------

ELEMENTWISE = [name for name, op in OPS.items() if list(op.inputs) == ["x"] and op.rowwise is each_element]


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_every_elementwise_op_as_an_activation(name: str) -> None:
    """Also below a ReLU, which may overwrite what it is given only where an affine map has made it."""
    between = [Node("act", name, ("fc1",), OPS[name].variants[0].params), Node("relu", "relu", ("act",))]
    for nodes in (between[:1], between):
        first = Node("fc1", "linear", ("x", "fc1.weight"))
        last = Node("fc2", "linear", (nodes[-1].name, "fc2.weight", "fc2.bias"))
        net = Network([first, *nodes, last])
        params = parameters(net, {"fc1.weight": (5, 3), "fc2.weight": (2, 5), "fc2.bias": (2,)})
        x, target = quarters(1, 4, 3), quarters(2, 4, 2)
        if OPS[name].inputs["x"].poles or np.isfinite(OPS[name].inputs["x"].within).any():
            params["fc1.weight"], x = (np.abs(a) + 1 for a in (params["fc1.weight"], x))  # sums above 1
        run = net.forward(params, x)
        grads = {n: g / 4 for n, g in net.backward(run, run.output - target).items()}
        assert all(np.isfinite(g).all() for g in grads.values())
        whole, single = ([f(net, params, x, target=target, loss=LOSS).grads for f in pair] for pair in (WHOLE, SINGLE))
        assert all(same(grads, other) for other in whole)
        assert all(same(single[0], other) for other in single)
        alone = [store_all(net, params, x[k:][:1], target=target[k:][:1], loss=LOSS).grads for k in range(4)]
        assert same(single[0], mean(alone))


def images() -> tuple[Any, ...]:
    """Two convolutions on 6x5 images, a pooling after either, flatten, two dense layers."""
    net = Network(
        [
            Node("conv1", "conv2d", ("x", "conv1.weight", "conv1.bias"), {"padding": 1}),
            Node("relu1", "relu", ("conv1",)),
            Node("pool1", "max_pool2d", ("relu1",), {"kernel_size": 2}),
            Node("conv2", "conv2d", ("pool1", "conv2.weight")),
            Node("pool2", "avg_pool2d", ("conv2",), {"kernel_size": 1}),
            Node("relu2", "relu", ("pool2",)),
            Node("flatten", "flatten", ("relu2",)),
            Node("fc1", "linear", ("flatten", "fc1.weight", "fc1.bias")),
            Node("relu3", "relu", ("fc1",)),
            Node("fc2", "linear", ("relu3", "fc2.weight", "fc2.bias")),
        ]
    )
    shapes = {"conv1.weight": (2, 1, 3, 3), "conv1.bias": (2,), "conv2.weight": (3, 2, 2, 1)}
    shapes |= {"fc1.weight": (4, 12), "fc1.bias": (4,), "fc2.weight": (3, 4), "fc2.bias": (3,)}
    return net, parameters(net, shapes), quarters(60, S, 1, 6, 5), quarters(61, S, 3)


def residual() -> tuple[Any, ...]:
    """fc1 is used by fc2 and, past it, by the last node: half the squared distance of fc1 and fc2 for each sample."""
    net = Network(
        [
            Node("fc1", "linear", ("x", "fc1.weight", "fc1.bias")),
            Node("relu", "relu", ("fc1",)),
            Node("fc2", "linear", ("relu", "fc2.weight")),
            Node("fc3", "linear", ("fc2", "fc3.weight")),
            Node("distance", LOSS, ("fc1", "fc3"), {"reduction": "none"}),
        ]
    )
    params = parameters(net, {"fc1.weight": (4, 3), "fc1.bias": (4,), "fc2.weight": (2, 4), "fc3.weight": (4, 2)})
    return net, params, quarters(62, S, 3), quarters(63, S)


def early() -> tuple[Any, ...]:
    """Nodes without parameters come before the first layer, and after the last."""
    net = Network(
        [
            Node("flatten", "flatten", ("x",)),
            Node("relu", "relu", ("flatten",)),
            Node("fc", "linear", ("relu", "fc.weight")),
            Node("maxout", "maxout", ("fc",), {"groups": 2}),
        ]
    )
    return net, parameters(net, {"fc.weight": (4, 6)}), quarters(64, S, 2, 3), quarters(65, S, 2)


@pytest.mark.parametrize("schedule", EVERY, ids=lambda f: getattr(f, "__name__", "frugal"))
@pytest.mark.parametrize("given", [images, residual, early], ids=lambda f: f.__name__)
def test_any_network(given: Callable[[], tuple[Any, ...]], schedule: Callable[..., Pass]) -> None:
    net, params, x, target = given()
    done = exact(schedule, net, params, x, target)
    assert same(done.grads, autograd(net, params, x, target=target, loss=LOSS))


def test_masks_and_classes_go_with_their_samples() -> None:
    """Dropout's mask is an input of the network, the target a class: both are cut as x is."""
    net = Network(
        [
            Node("fc1", "linear", ("x", "fc1.weight", "fc1.bias")),
            Node("drop", "dropout", ("fc1", "mask"), {"p": 0.5}),
            Node("fc2", "linear", ("drop", "fc2.weight")),
        ],
        inputs=("x", "mask"),
    )
    params = parameters(net, {"fc1.weight": (6, 4), "fc1.bias": (6,), "fc2.weight": (3, 6)})
    x, mask, classes = quarters(66, S, 4), (quarters(67, S, 6) > 0).astype(float), np.arange(S) % 3
    run = net.forward(params, x, mask)
    (d, _) = find("cross_entropy").vjp(np.float64(1), run.output, classes, reduction="sum")
    grads = {name: g / S for name, g in net.backward(run, d).items()}
    done = {f: f(net, params, x, mask, target=classes, loss="cross_entropy") for f in EVERY}
    assert all(same(grads, done[f].grads) for f in WHOLE)
    assert all(same(done[sample_by_sample].grads, done[f].grads) for f in SINGLE)
    rows = [slice(k, k + 1) for k in range(S)]
    alone = [store_all(net, params, x[r], mask[r], target=classes[r], loss="cross_entropy").grads for r in rows]
    assert same(done[sample_by_sample].grads, mean(alone))


def mean(grads: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Added up one after the other, then divided."""
    total = functools.reduce(lambda a, b: {n: a[n] + b[n] for n in a}, grads)
    return {n: g / len(grads) for n, g in total.items()}


# --- what is refused -------------------------------------------------------------------------------------------------

MIXING = {
    "mean over the batch": Node("mix", "softmax", ("fc1",), {"axis": 0}),
    "one number of all": Node("mix", "half_squared_error", ("fc1", "fc1")),
    "the batch in a longer axis": Node("mix", "flatten", ("fc1",), {"start": 0}),
    "samples as channels": Node("mix", "conv1d", ("fc1", "mix.weight")),
}


@pytest.mark.parametrize("name", MIXING)
@pytest.mark.parametrize("schedule", [sweep_by_sweep, sample_by_sample])
def test_a_layer_that_mixes_samples_is_refused(name: str, schedule: Callable[..., Pass]) -> None:
    net = Network([Node("fc1", "linear", ("x", "fc1.weight")), MIXING[name]], name="mixed")
    params = {"fc1.weight": quarters(0, 3, 2), "mix.weight": quarters(1, 4, 4, 3)}
    with pytest.raises(ValueError, match="mixes") as caught:
        schedule(net, params, quarters(2, 4, 2), target=quarters(3, 4, 3), loss=LOSS)
    assert str(caught.value) == (
        f"mixed: node 'mix' ({MIXING[name].op}) mixes the samples of a batch, which {schedule.__name__} takes one by "
        "one; store_all and checkpointed take them together"
    )


@pytest.mark.parametrize("name", ["mean over the batch", "samples as channels"])
@pytest.mark.parametrize("schedule", WHOLE)
def test_the_batch_as_a_whole_may_be_mixed(name: str, schedule: Callable[..., Pass]) -> None:
    net = Network([Node("fc1", "linear", ("x", "fc1.weight")), MIXING[name], Node("relu", "relu", ("mix",))])
    params = {"fc1.weight": quarters(0, 3, 2), "mix.weight": quarters(1, 4, 4, 3)}
    params = {n: params[n] for n in net.parameters}
    run = net.forward(params, quarters(2, 4, 2))
    target = quarters(3, *run.output.shape)
    grads = {n: g / 4 for n, g in net.backward(run, run.output - target).items()}
    assert same(schedule(net, params, quarters(2, 4, 2), target=target, loss=LOSS).grads, grads)


def call(schedule: Callable[..., Pass] = store_all, x: Any = None, target: Any = None, **kwargs: Any) -> Pass:
    net, params, good, right = dense((2, 3), 4)
    kwargs = {"loss": LOSS, **kwargs}
    return schedule(net, params, good if x is None else x, target=right if target is None else target, **kwargs)


BAD: dict[str, tuple[Callable[[], Any], str]] = {
    "no loss": (
        lambda: call(loss="relu"),
        "mlp: the loss is refnn.relu(x), expected an op of input and target with a reduction",
    ),
    "unknown loss": (lambda: call(loss="mse_los"), "unknown op 'mse_los', did you mean 'mse_loss'?"),
    "samples": (
        lambda: call(target=quarters(0, 3, 3)),
        "mlp: x has 4, target has 3 samples, expected as many everywhere, at least one",
    ),
    "empty": (
        lambda: call(x=quarters(0, 0, 2), target=quarters(0, 0, 3)),
        "mlp: x has 0, target has 0 samples, expected as many everywhere, at least one",
    ),
    "0-d": (lambda: call(x=np.float64(1)), "mlp: x has 0, target has 4 samples"),
    "shapes": (
        lambda: call(x=quarters(0, 4, 3)),
        "mlp: at fc1 = linear(x, fc1.weight, fc1.bias): x has shape (4, 3) and weight (3, 2), expected x to end in 2",
    ),
    "target": (
        lambda: call(target=quarters(0, 4, 2)),
        "half_squared_error: input has shape (4, 3), target has shape (4, 2), expected the same shape",
    ),
    "label": (
        lambda: call(sample_by_sample, target=np.array([0, 1, 3, 2]), loss="cross_entropy"),
        "cross_entropy: target holds the class 3, expected 0 to 2",
    ),
    "NaN": (
        lambda: call(sample_by_sample, x=np.array([[1.0, 2], [3, np.nan], [5, 6], [7, 8]])),
        "mlp: x[1, 1] is nan, expected a finite number",
    ),
    "infinite target": (
        lambda: call(target=np.full((4, 3), np.inf)),
        "mlp: target[0, 0] is inf, expected a finite number",
    ),
    "no parameters": (
        lambda: store_all(Network([Node("relu", "relu", ("x",))]), {}, np.ones((1, 2)), target=np.ones(1), loss=LOSS),
        "network has no parameters, so there is nothing to differentiate by",
    ),
    "every 0": (lambda: call(checkpointed, every=0), "mlp: every is 0, expected a number of layers from 1 to 1"),
    "every 1/2": (lambda: call(checkpointed, every=0.5), "mlp: every is 0.5, expected a number of layers from 1 to 1"),
    "every 2": (lambda: call(checkpointed, every=2), "mlp: every is 2, expected a number of layers from 1 to 1"),
    "exponential of fractions": (
        lambda: exact(store_all, *dense((2, 3), 4)[:3], np.arange(4) % 3, loss="cross_entropy"),
        "Fractions has no 'exp'",
    ),
    "fractions and floats": (
        lambda: call(x=fractions(quarters(0, 4, 2))),
        "mlp takes arrays of one dtype, but x is object, fc1.weight is float64, fc1.bias is float64",
    ),
    "widths": (lambda: mlp((3,)), "mlp: widths is (3,), expected at least two numbers of nodes, none below 1"),
    "no nodes": (lambda: mlp((3, 0, 2)), "mlp: widths is (3, 0, 2), expected at least two numbers of nodes"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_calls_get_one_sentence(name: str) -> None:
    make, sentence = BAD[name]
    with pytest.raises((ValueError, TypeError, LookupError, NotImplementedError)) as caught:
        make()
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


def test_the_schedules_are_found_by_name() -> None:
    assert [*SCHEDULES] == [f.__name__ for f in SCHEDULES.values()]
    assert set(SCHEDULES.values()) == {*EVERY} - {frugal}
