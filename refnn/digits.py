"""Real data: the 8x8 digits, and the multilayer perceptron that refnn trains on them.

The 1,797 images are the test part of "Optical Recognition of Handwritten Digits" (E. Alpaydin, C. Kaynak, UCI Machine
Learning Repository, doi 10.24432/C50P49, CC BY 4.0), as scikit-learn ships them: 64 pixels from 0 to 16.

`python -m refnn.digits` trains the fixture `digits_mlp` again, from nothing but seeds.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np

from refnn import train as training
from refnn.conformance import data
from refnn.network import Network, Node
from refnn.ops import find

SEED = 20261121  # of the split, of the initial weights and of the mini-batches
SIZES = (64, 32, 10)
LEARNING_RATE, EPOCHS, BATCH, DECAY = 0.25, 20, 32, 1e-4


def load() -> tuple[np.ndarray, np.ndarray]:
    """Images as float64 (1797, 64) from 0 to 1, exactly representable in every format; labels as int64 (1797,)."""
    from safetensors.numpy import load_file

    stored = load_file(data("data", "digits.safetensors"))
    return stored["images"].reshape(-1, 64) / 16.0, stored["labels"].astype(np.int64)


def split() -> tuple[np.ndarray, np.ndarray]:
    """Indices of the training images and of the random fifth that is held back."""
    return training.split(1797, SEED)


def initial() -> Network:
    """The untrained network: 64 - 32 ReLU - 10, He-normal weights, rounded to float32."""
    rng = np.random.default_rng(SEED)
    params = {}
    for i, (n, m) in enumerate(itertools.pairwise(SIZES)):
        params[f"fc{i + 1}.weight"] = (rng.normal(size=(m, n)) * np.sqrt(2 / n)).astype(np.float32)
        params[f"fc{i + 1}.bias"] = (rng.normal(size=m) * 0.01).astype(np.float32)
    nodes = [
        Node("fc1", "linear", ("x", "fc1.weight", "fc1.bias")),
        Node("relu", "relu", ("fc1",)),
        Node("fc2", "linear", ("relu", "fc2.weight", "fc2.bias")),
    ]
    return Network(nodes, name="digits_mlp", weights={"initial": params}, shapes={"x": (64,)})


def loss_gradient(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The gradient of the mean cross-entropy for the logits (S, 10), in their dtype."""
    gradient, _ = find("cross_entropy").vjp(logits.dtype.type(1), logits, labels)
    assert gradient is not None
    return gradient


def train(net: Network) -> dict[str, np.ndarray]:
    """Mini-batch gradient descent in float64 from the initial weights, with a rate that falls to zero; rounded to
    float32. Here the biases decay, too."""
    images, labels = load()
    chosen, _ = split()
    learned = training.train(
        net,
        {k: v.astype(np.float64) for k, v in net.weights["initial"].items()},
        images[chosen],
        labels[chosen],
        head="softmax",
        rates=[LEARNING_RATE * (1 - epoch / EPOCHS) for epoch in range(EPOCHS)],
        batch=BATCH,
        weight_decay=DECAY,
        decayed=net.parameters,
        seed=SEED,
    )
    if learned.stopped:  # half a training is no fixture
        raise RuntimeError(f"{net.name} is not trained: {learned.stopped}")
    return {k: v.astype(np.float32) for k, v in learned.params.items()}


def accuracy(net: Network, params: dict[str, np.ndarray], indices: np.ndarray) -> float:
    """The share of the images at `indices` that the network names correctly."""
    images, labels = load()
    logits = net.forward(params, images[indices].astype(np.float32)).output
    return float((logits.argmax(axis=1) == labels[indices]).mean())


def main() -> None:
    net = initial()
    net.weights["trained"] = train(net)
    chosen, held_back = split()
    net.about = {
        "data": "digits",
        "seed": SEED,
        "accuracy on the training images": round(accuracy(net, net.weights["trained"], chosen), 4),
        "accuracy on the held-back fifth": round(accuracy(net, net.weights["trained"], held_back), 4),
    }
    folder: Path = data("data").parent / "networks" / net.name
    net.save(folder)
    print(f"{folder.name}: {net.about}")


if __name__ == "__main__":
    main()
