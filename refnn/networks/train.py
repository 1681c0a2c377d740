"""Training: gradient descent in its three forms, with weight decay, dropout and a trace of the objective.

The objective is the mean of the losses of the samples; a step moves all parameters at once, against its gradient:

    J = 1/S sum_k l_k                                      challa2023 (1), you2022 (objective)
    w <- w - eta dJ/dw,  b <- b - eta dJ/db                challa2023 (28), you2022 (gradient descent)

S is the number of samples of a step: one (stochastic gradient descent), some (mini-batches) or all (gradient descent).
Weight decay adds lambda/2 sum w^2 to J, once a step and for weights only (cnnmath, weight decay). The last layer of a
network is affine, and its head fuses an output function with a loss, such that d = dl/da = y - t for one sample, target
t and output y (challa2023 (18)).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from refnn.networks.network import Network, Node
from refnn.ops import find
from refnn.progress import progress
from refnn.refusals import check_choice, check_each, check_finite

Array = Any
Params = Mapping[str, Array]

# The objective and its gradient for each parameter, on the samples of those indices.
Objective = Callable[[Params, np.ndarray], tuple[Any, Params]]

# --- gradient descent ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Training:
    """The outcome of training.

    `params` are the last finite parameters. `trace` has the objective of every step, on the samples of the step and
    before its update; an epoch has `per_epoch` steps. `stopped` says why and where training ended early. It is empty if
    all went well.
    """

    params: dict[str, Array]
    trace: list[Any]
    per_epoch: int
    stopped: str = ""

    @property
    def epochs(self) -> list[Any]:
        """The mean of the trace over each epoch. The last epoch may be incomplete."""
        pieces = [self.trace[i : i + self.per_epoch] for i in range(0, len(self.trace), self.per_epoch)]
        return [sum(piece) / len(piece) for piece in pieces]


def step(
    objective: Objective,
    params: Params,
    chosen: np.ndarray,
    rate: Any,
    weight_decay: Any = 0,
    decayed: Collection[str] = (),
) -> tuple[Any, dict[str, Array]]:
    """The objective at `params`, and the parameters after one step, all computed from the old ones.

    `decayed` names those that decay: J gets lambda/2 sum w^2, and its gradient lambda w."""
    value, gradient = objective(params, chosen)
    if lost := [name for name in params if name not in gradient]:
        raise ValueError(f"there is no gradient of the parameter {lost[0]!r}, got {', '.join(gradient) or 'none'}")
    for name in decayed:
        value = value + weight_decay * np.sum(params[name] ** 2) / 2
        gradient = {**gradient, name: gradient[name] + weight_decay * params[name]}
    return value, {name: w - rate * gradient[name] for name, w in params.items()}


def gradient_descent(
    objective: Objective,
    params: Params,
    samples: int,
    *,
    rates: Sequence[Any],
    batch: int | None = None,
    weight_decay: Any = 0,
    decayed: Collection[str] = (),
    seed: int = 0,
) -> Training:
    """Gradient descent from `params` on this number of samples, in floats or any other numbers.

    `rates` has the learning rate of every epoch. `batch` is the number of samples of a step: 1 is stochastic gradient
    descent, None takes all. An epoch goes through all samples once, in an order drawn from the seed. A step takes
    `batch` samples, or a few more if `batch` does not divide their number. `weight_decay` holds for the parameters that
    `decayed` names.

    Training stops when a number is not finite, or at Ctrl-C, and keeps what was learned before. ValueError names a
    wrong rate, batch, weight decay or seed.
    """
    size = samples if batch is None else batch
    rates, weight_decay = np.asarray(rates).tolist(), np.asarray(weight_decay).item()  # which leave a dtype as it is
    _check_numbers(samples, size, rates, weight_decay)
    for name, w in params.items():
        check_finite(name, np.asarray(w))
    if strange := [name for name in decayed if name not in params]:
        raise ValueError(f"there is no parameter {strange[0]!r} to decay, expected some of {', '.join(params)}")
    learned, per_epoch = dict(params), samples // int(size)
    trace: list[Any] = []
    order = np.random.default_rng(_checked(seed))
    try:
        with progress(len(rates) * per_epoch) as show, np.errstate(all="ignore"):  # what overflows is looked for
            for epoch, rate in enumerate(rates):
                for chosen in np.array_split(order.permutation(samples), per_epoch):
                    show(f"objective {float(trace[-1]):.6g}" if trace else "")
                    value, moved = step(objective, learned, chosen, rate, weight_decay, decayed)
                    trace.append(value)
                    if not _finite(value, *moved.values()):
                        what = "the new parameters are not finite" if _finite(value) else f"the objective is {value}"
                        where = f"step {len(trace) - 1}, epoch {epoch}, at the learning rate {rate}"
                        return Training(learned, trace, per_epoch, f"diverged in {where}: {what}")
                    learned = moved
    except KeyboardInterrupt:
        return Training(learned, trace, per_epoch, f"interrupted after {len(trace)} steps")
    return Training(learned, trace, per_epoch)


def _finite(*numbers: Any) -> bool:
    return all(np.all(np.abs(n) < np.inf) for n in numbers)  # of fractions, too


def _check_numbers(samples: int, size: int, rates: Any, weight_decay: Any) -> None:
    if size not in range(1, samples + 1):
        raise ValueError(f"the batch is {size}, expected a number of samples from 1 to {samples}")
    if not isinstance(rates, list):
        raise ValueError(f"rates is {rates}, expected a list: a learning rate for every epoch")
    if not rates:
        raise ValueError("there is no learning rate, expected one for every epoch")
    for epoch, rate in enumerate(rates):
        if not 0 <= rate < np.inf:
            raise ValueError(f"the learning rate of epoch {epoch} is {rate}, expected a finite number from 0 on")
    if not 0 <= weight_decay < np.inf:
        raise ValueError(f"weight_decay is {weight_decay}, expected a finite number from 0 on")


def _checked(seed: Any) -> Any:
    if not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ValueError(f"the seed is {seed!r}, expected an integer from 0 on")
    return seed


def split(samples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The indices to train on, four fifths drawn at random, and those to evaluate on, in order (you2022, data)."""
    if samples < 5:
        raise ValueError(f"a fifth of {samples} samples is none: expected at least 5")
    order = np.random.default_rng(_checked(seed)).permutation(samples)
    return np.sort(order[samples // 5 :]), np.sort(order[: samples // 5])


# --- heads -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Head:
    """An output function of the values of the last layer, and the loss op with which it is fused."""

    loss: str
    output: Callable[[np.ndarray], np.ndarray]


HEADS: Mapping[str, Head] = {
    "softmax": Head("cross_entropy", lambda a: find("softmax")(a, axis=1)),
    "logistic": Head("binary_cross_entropy_with_logits", lambda a: find("sigmoid")(a)),
    "linear": Head("half_squared_error", lambda a: a),
}


def loss(head: str, a: np.ndarray, target: np.ndarray) -> tuple[Any, np.ndarray]:
    """The objective of the samples for which the last layer gives `a`, of shape (S, ...), and the d of every sample, in
    the shape of a. d has no factor 1/S: it enters once, with the gradients of the parameters."""
    total, pull = find(_head(head).loss).pullback(a, target, reduction="sum")
    d = pull(np.ones_like(total))[0]
    assert d is not None
    return total / len(a), d


def loss_over_outputs(a: np.ndarray, target: np.ndarray) -> tuple[Any, np.ndarray]:
    """The loss of challa2022 (1), which takes a mean over the M outputs of softmax, too: value and d are 1/M of those
    of `loss`. The other editions have another loss, and (17) of the same edition, d = y - t, does not belong to this
    one."""
    value, d = loss("softmax", a, target)
    return value / a.shape[1], d / a.shape[1]


def _head(name: str) -> Head:
    check_choice("training", "head", name, tuple(HEADS))
    return HEADS[name]


# --- networks --------------------------------------------------------------------------------------------------------


def train(
    net: Network,
    params: Params,
    x: np.ndarray,
    target: np.ndarray,
    *,
    head: str,
    rates: Sequence[float],
    batch: int | None = None,
    weight_decay: float = 0.0,
    decayed: Collection[str] | None = None,
    seed: int = 0,
) -> Training:
    """Gradient descent on the parameters of a network, from `params`; see `gradient_descent`.

    x has the shape (samples, ...) and the dtype of the parameters. target has class indices or probabilities for the
    head "softmax", numbers from 0 to 1 for "logistic", and any numbers in the shape of the output for "linear". Weights
    decay and biases do not, unless `decayed` names other parameters. The masks of dropout are inputs of the network,
    drawn for each step. Before training starts, ValueError names the position of a number that is not finite, or of a
    target outside its range.
    """
    x, target, params = np.asarray(x), np.asarray(target), {name: np.asarray(w) for name, w in params.items()}
    _check_data(without_dropout(net), params, x, target, head)
    drops = {n.inputs[1]: {**find(n.op).defaults, **n.params}["p"] for n in net.nodes if n.op == "dropout"}
    if missing := [mask for mask in drops if mask not in net.shapes]:
        raise ValueError(f"{net.name}: `shapes` does not say which shape the mask {missing[0]!r} has")
    chance = np.random.default_rng((_checked(seed), 1))  # another stream than that of the order

    def objective(params: Params, chosen: np.ndarray) -> tuple[Any, Params]:
        given = {mask: chance.random((len(chosen), *net.shapes[mask])) >= p for mask, p in drops.items()}
        arrays = (given[n].astype(x.dtype) if n in given else x[chosen] for n in net.inputs)
        run = net.forward(params, *arrays)
        value, d = loss(head, run.output, target[chosen])
        return value, net.backward(run, d / len(chosen))

    if decayed is None:
        decayed = [name for name in net.parameters if name.endswith(".weight") and np.ndim(params[name]) > 1]
    return gradient_descent(
        objective, params, len(x), rates=rates, batch=batch, weight_decay=weight_decay, decayed=decayed, seed=seed
    )


def without_dropout(net: Network) -> Network:
    """The network in evaluation: dropout is the identity, and its masks are not inputs.

    In training it is x D / (1 - p) (challa2023 (variable D)), whose mean over all masks D is x.
    """
    instead: dict[str, str] = {}
    nodes = []
    for node in net.nodes:
        inputs = tuple(instead.get(name, name) for name in node.inputs)
        if node.op == "dropout":
            instead[node.name] = inputs[0]
        else:
            nodes.append(replace(node, inputs=inputs))
    masks = {node.inputs[1] for node in net.nodes if node.op == "dropout"}
    left = [name for name in net.inputs if name not in masks]
    shapes = {name: shape for name, shape in net.shapes.items() if name in left}
    return Network(nodes, name=net.name, inputs=left, weights=net.weights, shapes=shapes, about=net.about)


def with_loss(net: Network, head: str) -> Network:
    """The network with one more node, the mean loss with which the head is fused, so that its output is the objective.
    It has one more input, the targets."""
    node = Node("loss", _head(head).loss, (net.nodes[-1].name, "target"))
    nodes, inputs = [*net.nodes, node], [*net.inputs, "target"]
    return Network(nodes, name=net.name, inputs=inputs, weights=net.weights, shapes=net.shapes, about=net.about)


def predict(net: Network, params: Params, x: np.ndarray, *, head: str) -> np.ndarray:
    """The outputs y of the head for every sample, without dropout: probabilities for "softmax" and "logistic"."""
    return _head(head).output(without_dropout(net).forward(params, x).output)


def evaluate(net: Network, params: Params, x: np.ndarray, target: np.ndarray, *, head: str) -> Any:
    """The mean loss of these samples, without dropout and weight decay. ValueError names wrong data, as in `train`."""
    x, target, plain = np.asarray(x), np.asarray(target), without_dropout(net)
    _check_data(plain, params, x, target, head)
    value, _ = loss(head, plain.forward(params, x).output, target)
    return value


def _check_data(net: Network, params: Params, x: np.ndarray, target: np.ndarray, head: str) -> None:
    classes = _head(head).loss == "cross_entropy" and target.dtype.kind in "biu"
    samples, others = (a.shape[0] if a.shape else 0 for a in (x, target))
    if not 0 < samples == others:
        raise ValueError(f"{net.name}: x has {samples} samples and target {others}, expected as many, at least one")
    a = net.forward(params, x[:1]).output
    check_finite(f"{net.name}: x", x)
    expected = (samples, *a.shape[2 if classes else 1 :])
    if target.shape != expected:
        raise ValueError(
            f"{net.name}: target has dtype {target.dtype} and shape {target.shape}, expected {expected} for "
            f"{'classes' if classes else 'numbers'}"
        )
    if classes:
        check_each(
            f"{net.name}: target", target, (target >= 0) & (target < a.shape[1]), f"a class from 0 to {a.shape[1] - 1}"
        )
    elif head == "linear":
        check_finite(f"{net.name}: target", target)
    else:
        check_each(f"{net.name}: target", target, (target >= 0) & (target <= 1), "a number from 0 to 1")
