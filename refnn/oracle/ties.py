"""Ties: whether some weights in the simplex explain a gradient at cells that share a maximum.

Where several cells of a window are its maximum, an implementation may give each of them any share w >= 0 of the
window's cotangent g, as long as the shares sum to one. With windows o and cells i, and what was got within its
allowance, that asks for flows f_oi = w_oi g_o of the sign of g_o with

    sum over i of f_oi = g_o,   |sum over o of f_oi - got_i| <= allowed_i.

Those are flows in a network of windows and cells, so a maximum flow decides (Ford and Fulkerson, Canad. J. Math. 8
(1956) 399). Every float is an integer over one power of two: the answer is exact.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from refnn.arithmetic import Convention, Unsupported
from refnn.arithmetic.floats import hits
from refnn.arithmetic.windows import Windows
from refnn.op import lift
from refnn.oracle.evaluate import Call

Array = Any


@dataclass(frozen=True, eq=False)
class Shares:
    """What the maxima of a definition send back: entry e says that window `window[e]`, whose cotangent is `amount[e]`,
    has its maximum in the cell `cell[e]` of the input. A window with several entries is tied between them."""

    window: np.ndarray
    cell: np.ndarray
    amount: np.ndarray

    def components(self, size: int) -> np.ndarray:
        """For each of `size` cells the smallest cell that ties connect it with, over any number of windows; -1 for
        cells in no tie. A window without a cotangent ties nothing."""
        tied = (np.bincount(self.window)[self.window] > 1) & (self.amount != 0)
        window, cell = self.window[tied], self.cell[tied]
        label = np.full(size, -1)
        label[cell] = cell
        before = np.empty(0)
        while not np.array_equal(before, label):
            before = label.copy()
            least = np.full(window.max(initial=-1) + 1, size)
            np.minimum.at(least, window, label[cell])
            np.minimum.at(label, cell, least[window])
        return label

    def explain(self, entries: np.ndarray, cells: np.ndarray, got: np.ndarray, allowed: np.ndarray) -> bool:
        """Whether shares exist for all windows over `cells` (one component, with its entries) that give `got` up to
        `allowed`."""
        windows, ends = self.window[entries].tolist(), self.cell[entries].tolist()
        amounts = dict(zip(windows, self.amount[entries].tolist(), strict=True))
        numbers = (*amounts.values(), *got.tolist(), *allowed.tolist())
        if not np.isfinite(numbers).all():
            return False
        unit = math.lcm(*(Fraction(n).denominator for n in numbers))
        flow = Flow()
        for window, amount in amounts.items():
            exact = int(Fraction(amount) * unit)
            flow.supply("window", window, exact, exact)
        for cell, value, radius in zip(cells.tolist(), got.tolist(), allowed.tolist(), strict=True):
            low, high = (int((Fraction(value) + s * Fraction(radius)) * unit) for s in (-1, 1))
            flow.supply("cell", cell, -high, -low)
        for window, cell in zip(windows, ends, strict=True):
            edge = ("window", window), ("cell", cell)
            flow.edge(*(edge if amounts[window] > 0 else edge[::-1]), None)
        return flow.feasible()


class Recorder:
    """An arithmetic that computes nothing: it follows the elements of the input to where a vjp routes the cotangent.

    Arrays hold the values and their places in the inputs, numbered through. Whatever combines them is refused.
    """

    name = "Recorder"

    def __init__(self) -> None:
        self.places = self.groups = 0
        self.found: list[Shares] = []

    def __getattr__(self, primitive: str) -> Any:
        raise Unsupported(self.name, primitive)

    def array(self, x: Array) -> Array:
        labelled = np.empty(np.shape(x), [("value", np.float64), ("place", np.int64)])
        labelled["value"] = x
        labelled["place"] = self.places + np.arange(labelled.size).reshape(labelled.shape)
        self.places += labelled.size
        return labelled

    def windows(self, x: Array, w: Windows) -> Array:
        return w.gather(x)

    def fold(self, x: Array, w: Windows) -> Array:
        return w.fold(x)

    def route(self, g: Array, x: Array, axis: int, among: np.ndarray | None = None) -> Array:
        top = hits(x["value"], axis, among, "split") & ~np.isnan(x["value"])

        def over(values: np.ndarray) -> np.ndarray:
            return np.asarray(np.broadcast_to(np.expand_dims(values, axis), x.shape)[top])

        groups = self.groups + np.arange(g.size).reshape(g.shape)
        self.groups += g.size
        self.found.append(Shares(over(groups), x["place"][top], over(g["value"])))
        return np.zeros(x.shape)


def shares(call: Call, which: int) -> Shares | None:
    """What a vjp sends to input `which`; None where it does more than route its cotangent."""
    ar, inputs = Recorder(), call.inputs
    try:
        lifted = lift(ar, inputs)
        call.definition[1](ar, ar.array(call.cotangent), None, *lifted, **call.params)
    except (Unsupported, TypeError):  # NumPy does not calculate with labelled elements, either
        return None
    first = sum(x.size for x in inputs[:which] if x is not None and x.dtype.kind not in "biu")
    x = inputs[which]
    assert x is not None
    parts = [np.concatenate([getattr(s, name) for s in ar.found]) for name in ("window", "cell", "amount")]
    here = (parts[1] >= first) & (parts[1] < first + x.size)
    return Shares(parts[0][here], parts[1][here] - first, parts[2][here])


def grouped(labels: np.ndarray) -> dict[int, np.ndarray]:
    """For each label where it stands."""
    order = np.argsort(labels, kind="stable")
    found, first = np.unique(labels[order], return_index=True)
    return dict(zip(found.tolist(), np.split(order, first[1:]), strict=True))


Node = tuple[str, int]


class Flow:
    """Whether a flow exists in a directed graph whose nodes supply between two bounds (a demand is negative)."""

    def __init__(self) -> None:
        self.room: dict[Node, dict[Node, int | None]] = {}  # None: no bound
        self.forced: dict[Node, int] = {}

    def edge(self, tail: Node, head: Node, capacity: int | None) -> None:
        self.room.setdefault(tail, {})[head] = capacity
        self.room.setdefault(head, {}).setdefault(tail, 0)

    def supply(self, kind: str, number: int, least: int, most: int) -> None:
        """The least that it supplies is forced; the rest comes from a common pool."""
        self.forced[kind, number] = least
        self.edge(POOL, (kind, number), most - least)

    def feasible(self) -> bool:
        """Whether everything that is forced can flow off (Dinic, Soviet Math. Dokl. 11 (1970) 1277)."""
        self.forced[POOL] = -sum(self.forced.values())
        for node, amount in self.forced.items():
            self.edge(*((SOURCE, node) if amount > 0 else (node, SINK)), abs(amount))
        missing = sum(a for a in self.forced.values() if a > 0)
        while missing:
            pushed = self._push(self._levels())
            if not pushed:
                return False
            missing -= pushed
        return True

    def _levels(self) -> dict[Node, int]:
        """How many edges with room lie between the source and each node."""
        level, queue = {SOURCE: 0}, deque([SOURCE])
        while queue:
            node = queue.popleft()
            for head, room in self.room.get(node, {}).items():
                if head not in level and room != 0:
                    level[head] = level[node] + 1
                    queue.append(head)
        return level

    def _push(self, level: dict[Node, int]) -> int:
        """Fill shortest paths from the source to the sink until each has a full edge; what was pushed in all."""
        untried = {node: list(heads) for node, heads in self.room.items()}
        path, total = [SOURCE], 0
        while path:
            node = path[-1]
            if node == SINK:
                edges = list(itertools.pairwise(path))
                pushed = min(room for a, b in edges if (room := self.room[a][b]) is not None)
                for a, b in edges:
                    for tail, head, change in ((a, b, -pushed), (b, a, pushed)):
                        if (before := self.room[tail][head]) is not None:
                            self.room[tail][head] = before + change
                total += pushed
                path = path[: 1 + next(i for i, (a, b) in enumerate(edges) if self.room[a][b] == 0)]
                continue
            heads = untried.get(node, [])
            while heads and not (level.get(heads[-1]) == level[node] + 1 and self.room[node][heads[-1]] != 0):
                heads.pop()
            if heads:
                path.append(heads[-1])
            else:
                path.pop()
                if path:
                    untried[path[-1]].pop()
        return total


POOL, SOURCE, SINK = ("pool", 0), ("source", 0), ("sink", 0)


def has_ties(convention: Convention) -> bool:
    """Whether a convention says which of several maxima count, for an op or for some op of a network."""
    return any(map(has_ties, convention.values())) if isinstance(convention, Mapping) else isinstance(convention, str)
