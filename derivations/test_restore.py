"""The copy of the network that challa2023 keeps for a batch changes no bit of the gradient."""

from __future__ import annotations

import numpy as np
import pytest

from derivations.challa.restore import copy_and_restore
from refnn.networks.network import mlp
from refnn.teaching.schedules import sample_by_sample

WIDTHS, S = (4, 5, 6, 5, 3), 7


@pytest.mark.system("S17")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", ["half_squared_error", "cross_entropy"])
def test_the_restored_copy_is_redundant(dtype: str, loss: str) -> None:
    """The same bits as sample by sample on one network, for S + 1 copies of it; without the restoring another result,
    but then only because of the updates that were to be undone."""
    rng = np.random.default_rng(17)
    net = mlp(WIDTHS)
    params = {f"fc{n}.weight": rng.normal(size=(WIDTHS[n], WIDTHS[n - 1])).astype(dtype) for n in range(1, 5)}
    params |= {f"fc{n}.bias": rng.normal(size=WIDTHS[n]).astype(dtype) for n in range(1, 5)}
    x = rng.normal(size=(S, 4)).astype(dtype)
    target = rng.normal(size=(S, 3)).astype(dtype) if loss == "half_squared_error" else rng.integers(0, 3, S)
    one = sample_by_sample(net, params, x, target=target, loss=loss).grads
    rate = np.dtype(dtype).type(0.125)
    restored, copied = copy_and_restore(net, params, x, target, loss=loss, rate=rate)
    assert {name: g.tobytes() for name, g in restored.items()} == {name: g.tobytes() for name, g in one.items()}
    assert all(g.dtype == dtype for g in restored.values())
    assert copied == (S + 1) * sum(w.size for w in params.values())
    moving, _ = copy_and_restore(net, params, x, target, loss=loss, rate=rate, restore=False)
    assert all(moving[name].tobytes() != g.tobytes() for name, g in one.items())
    resting, _ = copy_and_restore(net, params, x, target, loss=loss, rate=0 * rate, restore=False)
    assert all(resting[name].tobytes() == g.tobytes() for name, g in one.items())
