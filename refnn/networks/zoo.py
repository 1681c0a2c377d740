"""The fixture networks: what they are made of, and how refnn trains them, from nothing but seeds.

`python -m refnn.networks.zoo [NAME...]` trains them again and writes conformance/networks/: the same bytes on the same
machine.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from refnn.conformance import data
from refnn.networks import datasets, train
from refnn.networks.network import Network, Node
from refnn.refusals import check_choice


@dataclass(frozen=True)
class Layer:
    """A node of a chain; those with a `weight` have that shape of it, and a bias."""

    name: str
    op: str
    weight: tuple[int, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """A chain of layers, the data that it learns from, its head (see `refnn.networks.train`), and the numbers of its
    training: a learning rate that falls to zero over so many epochs, the samples of a step, and the weight decay."""

    layers: tuple[Layer, ...]
    data: str
    head: str
    rate: float
    epochs: int
    batch: int = 32
    weight_decay: float = 0.0


_POOL = {"kernel_size": 2}
LARGE = 20_000  # parameters: where there are more, the initial weights are not stored, as `initial` makes them again

ZOO: Mapping[str, Recipe] = MappingProxyType(
    {
        "digits_mlp": Recipe(
            layers=(
                Layer("fc1", "linear", (32, 64)),
                Layer("relu", "relu"),
                Layer("fc2", "linear", (10, 32)),
            ),
            data="digits",
            head="softmax",
            rate=0.25,
            epochs=20,
            weight_decay=1e-4,
        ),
        "digits_odd": Recipe(
            layers=(
                Layer("fc1", "linear", (16, 64)),
                Layer("tanh", "tanh"),
                Layer("fc2", "linear", (1, 16)),
            ),
            data="odd_digits",
            head="logistic",
            rate=0.25,
            epochs=40,
        ),
        "digits_cnn": Recipe(
            layers=(
                Layer("conv1", "conv2d", (8, 1, 3, 3), {"padding": 1}),
                Layer("relu1", "relu"),
                Layer("conv2", "conv2d", (16, 8, 3, 3), {"padding": 1}),
                Layer("relu2", "relu"),
                Layer("pool", "max_pool2d", params=_POOL),
                Layer("flatten", "flatten"),
                Layer("fc", "linear", (10, 256)),
            ),
            data="digit_images",
            head="softmax",
            rate=0.3,
            epochs=10,
        ),
        "digits_allconv": Recipe(
            layers=(
                Layer("conv1", "conv2d", (8, 1, 3, 3), {"padding": 1}),
                Layer("relu1", "relu"),
                Layer("conv2", "conv2d", (16, 8, 3, 3), {"padding": 1}),
                Layer("relu2", "relu"),
                Layer("stride", "conv2d", (16, 16, 2, 2), {"stride": 2}),
                Layer("relu3", "relu"),
                Layer("classes", "conv2d", (10, 16, 4, 4)),
                Layer("flatten", "flatten"),
            ),
            data="digit_images",
            head="softmax",
            rate=0.3,
            epochs=10,
        ),
        "digits_segments": Recipe(
            layers=(
                Layer("conv1", "conv2d", (8, 1, 3, 3), {"padding": 1}),
                Layer("relu1", "relu"),
                Layer("down", "conv2d", (16, 8, 2, 2), {"stride": 2}),
                Layer("relu2", "relu"),
                Layer("conv2", "conv2d", (16, 16, 3, 3), {"padding": 1}),
                Layer("relu3", "relu"),
                Layer("up", "conv_transpose2d", (16, 12, 2, 2), {"stride": 2}),
                Layer("relu4", "relu"),
                Layer("classes", "conv2d", (11, 12, 1, 1)),
            ),
            data="digit_segments",
            head="softmax",
            rate=0.02,
            epochs=30,
        ),
        "lenet": Recipe(
            layers=(
                Layer("conv1", "conv2d", (6, 1, 5, 5)),
                Layer("relu1", "relu"),
                Layer("pool1", "max_pool2d", params=_POOL),
                Layer("conv2", "conv2d", (16, 6, 5, 5)),
                Layer("relu2", "relu"),
                Layer("pool2", "max_pool2d", params=_POOL),
                Layer("flatten", "flatten"),
                Layer("fc1", "linear", (120, 256)),
                Layer("relu3", "relu"),
                Layer("fc2", "linear", (84, 120)),
                Layer("relu4", "relu"),
                Layer("fc3", "linear", (10, 84)),
            ),
            data="enlarged_digits",
            head="softmax",
            rate=0.1,
            epochs=8,
        ),
        "super_resolution": Recipe(
            layers=(
                Layer("conv1", "conv2d", (8, 1, 9, 9)),
                Layer("relu1", "relu"),
                Layer("conv2", "conv2d", (4, 8, 1, 1)),
                Layer("relu2", "relu"),
                Layer("conv3", "conv2d", (1, 4, 5, 5)),
            ),
            data="blurred_mosaics",
            head="linear",
            rate=0.001,
            epochs=60,
            batch=1,
        ),
        "women": Recipe(
            layers=(Layer("fc", "linear", (1, 1)),),
            data="women",
            head="linear",
            rate=0.5,
            epochs=200,
            batch=12,
        ),
        "co2_forecast": Recipe(
            layers=(
                Layer("conv1", "conv1d", (8, 1, 5)),
                Layer("relu1", "relu"),
                Layer("conv2", "conv1d", (8, 8, 5)),
                Layer("relu2", "relu"),
                Layer("pool", "avg_pool1d", params=_POOL),
                Layer("flatten", "flatten"),
                Layer("fc", "linear", (1, 72)),
            ),
            data="carbon_dioxide",
            head="linear",
            rate=0.05,
            epochs=60,
        ),
    }
)


def initial(name: str) -> Network:
    """The untrained network of that name: He-normal weights and small biases, rounded to float32."""
    check_choice("zoo", "network", name, tuple(ZOO))
    recipe, rng = ZOO[name], np.random.default_rng(datasets.SEED)
    nodes, params, before = [], {}, "x"
    for layer in recipe.layers:
        own: tuple[str, ...] = ()
        if layer.weight:
            own = f"{layer.name}.weight", f"{layer.name}.bias"
            outputs = layer.weight[1 if layer.op.startswith("conv_transpose") else 0]
            spread = np.sqrt(2 * outputs / math.prod(layer.weight))
            params[own[0]] = (rng.normal(size=layer.weight) * spread).astype(np.float32)
            params[own[1]] = (rng.normal(size=outputs) * 0.01).astype(np.float32)
        nodes.append(Node(layer.name, layer.op, (before, *own), layer.params))
        before = layer.name
    shape = datasets.load(recipe.data).x.shape[1:]
    return Network(nodes, name=name, weights={"initial": params}, shapes={"x": shape})


def fixture(name: str) -> Network:
    """The stored network of that name, with its initial weights even if they are not stored."""
    net = Network.load(name)
    weights = {**initial(name).weights, **net.weights}
    return Network(net.nodes, name=name, inputs=net.inputs, weights=weights, shapes=net.shapes, about=net.about)


def trained(name: str) -> Network:
    """The network of that name with its initial weights, its weights after mini-batch gradient descent in float64, and
    how well those do."""
    net, recipe = initial(name), ZOO[name]
    found = datasets.load(recipe.data)
    learned = train.train(
        net,
        {k: v.astype(np.float64) for k, v in net.weights["initial"].items()},
        found.x[found.training],
        found.target[found.training],
        head=recipe.head,
        rates=[recipe.rate * (1 - epoch / recipe.epochs) for epoch in range(recipe.epochs)],
        batch=recipe.batch,
        weight_decay=recipe.weight_decay,
        seed=datasets.SEED,
    )
    if learned.stopped:  # half a training is no fixture
        raise RuntimeError(f"{name} is not trained: {learned.stopped}")
    about = {"data": recipe.data, "head": recipe.head, "seed": datasets.SEED}
    few = sum(v.size for v in net.weights["initial"].values()) <= LARGE
    weights = (net.weights if few else {}) | {"trained": {k: v.astype(np.float32) for k, v in learned.params.items()}}
    made = Network(net.nodes, name=name, weights=weights, shapes=net.shapes, about=about)
    made.about.update(achieved(made))
    return made


def achieved(net: Network) -> dict[str, float]:
    """How well the trained weights do, on the samples that they were trained on and on those that were held back: the
    share of right classes, or the root of the mean squared error where the head is linear."""
    found, params = datasets.load(net.about["data"]), net.weights["trained"]
    numbers = {}
    for name, chosen in (("trained on", found.training), ("held back", found.held_back)):
        y = train.predict(net, params, found.x[chosen].astype(np.float32), head=net.about["head"])
        target = found.target[chosen]
        if net.about["head"] == "linear":
            numbers[f"error, {name}"] = float(np.sqrt(np.mean((y - target) ** 2)))
        else:
            guess = y.argmax(1) if net.about["head"] == "softmax" else y > 0.5
            numbers[f"accuracy, {name}"] = float(np.mean(guess == target))
    return {k: round(v, 4) for k, v in numbers.items()}


def main(names: Sequence[str]) -> int:
    try:
        for name in names or ZOO:
            net = trained(name)
            net.save(data("networks") / name)
            print(f"{name}: {net.about}", flush=True)
    except (ValueError, RuntimeError) as e:
        print(e, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
