"""What was seen of one run of a PyTorch module, and the network of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from refnn.implementations.torch_modules import Refused
from refnn.networks.network import Network, Node
from refnn.op import Op
from refnn.ops import OPS

Array = np.ndarray


@dataclass
class Ran:
    """One call of a function that is an op, or of a function of the user's own.

    `inputs` has for each input of the op the name of the value and its numbers, None where it is absent. `kept` has
    what left as its gradient, in the same order. `cotangent` is what arrived, None if nothing did. `alone` says why the
    call is no node of a network. A cast is two calls: one forward, in the format that it casts to, and one `back`,
    whose output says nothing, in the format that it casts from.
    """

    name: str
    op: Op
    inputs: list[tuple[str, Array] | None]
    params: Mapping[str, Any]
    output: Array
    alone: str = ""
    cotangent: Array | None = None
    kept: list[list[Array]] = field(default_factory=list)
    back: bool = False

    @property
    def grads(self) -> list[Array | None]:
        """The gradients that left, None where autograd gave none."""
        return [k[0] if k else None for k in self.kept]


@dataclass
class Seen:
    """A run: its calls in their order, and what else was called that may compute, each with the place in the source."""

    ran: list[Ran] = field(default_factory=list)
    others: dict[str, str] = field(default_factory=dict)
    outputs: list[str] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)  # the module's own names of the network's parameters


def network_of(seen: Seen, inputs: Sequence[str], name: str) -> Network:
    """The network of what was seen, as far as its output needs it. Refused names all that has no place in it."""
    if seen.others:
        listed = "; ".join(f"{place}: {why}" for place, why in seen.others.items())
        raise Refused(listed)
    if len(seen.outputs) != 1:
        raise Refused(f"the module returns {len(seen.outputs)} results of ops, expected one")
    needed, calls = {seen.outputs[0]}, []
    for ran in reversed(seen.ran):
        if ran.name in needed:
            calls.append(ran)
            needed |= {v[0] for v in ran.inputs if v is not None}
    calls.reverse()
    if alone := [f"{ran.name}: {ran.alone}" for ran in calls if ran.alone]:
        raise Refused("; ".join(alone))
    called: dict[str, str] = {}  # a constant has the name of its first place among the calls that are needed
    for ran in calls:
        for slot, v in zip(ran.op.inputs, ran.inputs, strict=True):
            if v is not None and v[0] in seen.constants:
                called.setdefault(v[0], f"{ran.name}.{slot}")
    constants = {called[n]: a for n, a in seen.constants.items() if n in called}
    if odd := [n for n, a in constants.items() if a.dtype.kind in "biu"]:
        raise Refused(f"{odd[0]} is an array of {constants[odd[0]].dtype}, expected numbers")
    nodes = [
        Node(
            r.name,
            r.op.name if OPS.get(r.op.name) is r.op else r.op,
            tuple(called.get(v[0], v[0]) for v in r.inputs if v is not None),
            dict(r.params),
        )
        for r in calls
    ]
    return Network(
        nodes,
        name=name if name.isidentifier() else "network",
        inputs=tuple(inputs),
        weights={"module": constants},
        about={"torch": {called[n]: p for n, p in seen.parameters.items() if n in called}},
    )
