"""Training: one step, the three forms of gradient descent, decay, dropout, and what must not be lost."""

from __future__ import annotations

import numpy as np

from refnn import digits
from refnn.ops import find
from refnn.train import train


def test_the_loop_is_mini_batch_gradient_descent() -> None:
    """The digits network against the rule written out, to the bit: batches of 32 and 33, all parameters decay."""
    net = digits.initial()
    images, labels = digits.load()
    images, labels = images[:100], labels[:100]
    start = {k: v.astype(np.float64) for k, v in net.weights["initial"].items()}
    params, order = start, np.random.default_rng(7)
    for rate in (0.5, 0.25):
        for batch in np.array_split(order.permutation(100), 3):
            run = net.forward(params, images[batch])
            d, _ = find("cross_entropy").vjp(np.float64(1), run.output, labels[batch], reduction="sum")
            assert d is not None
            grads = net.backward(run, d / len(batch))
            params = {k: v - rate * (grads[k] + 0.01 * v) for k, v in params.items()}
    learned = train(
        net, start, images, labels, head="softmax", rates=(0.5, 0.25), batch=32, weight_decay=0.01,
        decayed=net.parameters, seed=7,
    )  # fmt: skip
    assert not learned.stopped and learned.per_epoch == 3 and len(learned.trace) == 6
    assert learned.epochs[1] < learned.epochs[0]
    assert all(np.array_equal(learned.params[k], v) for k, v in params.items())
