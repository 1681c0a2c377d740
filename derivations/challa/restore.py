"""challa2023, before (29): batches with a copy of the network, as described there; it is not needed (000-GD1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from refnn.networks.network import Network
from refnn.teaching.schedules import sample_by_sample

Array = Any


def copy_and_restore(
    net: Network, params: Mapping[str, Array], x: Array, target: Array, *, loss: str, rate: Any, restore: bool = True
) -> tuple[dict[str, Array], int]:
    """The mean gradient of the samples, and how many numbers were copied for it.

    "We need to store a copy of network in memory; perform the gradient for first sample; and restore network for next
    sample": a sample's gradient is followed by its update (28), which the copy then undoes. `restore=False` leaves that
    out.
    """
    copy = {name: np.copy(w) for name, w in params.items()}
    network, copied = dict(copy), sum(w.size for w in copy.values())
    total: dict[str, Array] = {}
    for k in range(len(x)):
        grads = sample_by_sample(net, network, x[k : k + 1], target=target[k : k + 1], loss=loss).grads
        total = {name: total[name] + g if total else g for name, g in grads.items()}
        network = {name: w - rate * grads[name] for name, w in network.items()}
        if restore:
            network = {name: np.copy(w) for name, w in copy.items()}
            copied += sum(w.size for w in network.values())
    return {name: g / len(x) for name, g in total.items()}, copied
