"""Networks: ops in static single assignment form, with forward, backward, save and load.

A node applies one op to values that were made before it: inputs of the network, parameters, or outputs of earlier
nodes. Parameters are named `node.input`, as in a torch state_dict. The value of the last node is the output.

    x = op(x', x'', ...)                        node by node: challa2023 (8), (21), cnnmath (forward propagation)
    dL/dx' = sum over all x of dL/dx dx/dx'     from the last node to the first: challa2023 (23), cnnmath (deltas)

The vjp of an op gives a term of the sum for each value that a node uses. Of an affine node a = W x + b followed by ReLU
that makes dL/da = dL/dx (0 or 1), which is dLa in challa2023 (26), and from it dL/dW = dLa x, (19), dL/db = dLa, (20).
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from refnn.arithmetic import Convention
from refnn.arithmetic.floats import Floats
from refnn.arithmetic.protocol import Arithmetic
from refnn.arithmetic.shapes import Shapes, zeros
from refnn.conformance import data
from refnn.formats import FORMATS
from refnn.networks import files
from refnn.op import Input, Op, Variant
from refnn.ops import OPS, find
from refnn.refusals import nearest

Array = Any
Params = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Node:
    """`name = op(*inputs, **params)`, where the inputs are names of values. `op` is the name of an op of the catalogue,
    or a record; a network with a record cannot be saved."""

    name: str
    op: str | Op
    inputs: tuple[str, ...]
    params: Mapping[str, Any] = field(default_factory=dict)

    @property
    def catalogued(self) -> str:
        """The name of the op in the catalogue. ValueError says that it is a record of one's own."""
        if not isinstance(self.op, str):
            raise ValueError(f"node {self.name!r} has the op {self.op.name!r}, which is none of the catalogue")
        return self.op


@dataclass(frozen=True, eq=False)
class Run:
    """The values of one forward pass, by name: inputs, parameters and the output of every node."""

    values: Mapping[str, np.ndarray]
    output: np.ndarray


class Network:
    """A feed-forward network.

        >>> fc1 = refnn.Node("fc1", "linear", ("x", "fc1.weight", "fc1.bias"))
        >>> net = refnn.Network([fc1, refnn.Node("act", "relu", ("fc1",))])
        >>> params = {"fc1.weight": np.array([[1.0, -3.0], [2.0, 1.0]]), "fc1.bias": np.array([0.5, 0.5])}
        >>> run = net.forward(params, np.ones((1, 2)))
        >>> run.output, net.backward(run, np.ones((1, 2)))["fc1.bias"]
        (array([[0. , 3.5]]), array([0., 1.]))

    `weights` are named sets of finite parameters that come with the network. `shapes` has the shape of each input
    without its batch axis. `about` has what else its file says. ValueError or TypeError says in one sentence why the
    nodes are not a network, or which layers have shapes that do not fit, if the weights and `shapes` tell.
    """

    from_torch: ClassVar[Callable[..., Network]]  # set in refnn/__init__.py: networks know nothing of frameworks

    def __init__(
        self,
        nodes: Sequence[Node],
        *,
        name: str = "network",
        inputs: Sequence[str] = ("x",),
        weights: Mapping[str, Params] | None = None,
        shapes: Mapping[str, tuple[int, ...]] | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        self.nodes, self.name, self.inputs = tuple(nodes), name, tuple(inputs)
        self.weights = {k: {n: np.asarray(a) for n, a in v.items()} for k, v in (weights or {}).items()}
        self.shapes, self.about = dict(shapes or {}), dict(about or {})
        self.parameters = self._check()
        for label, params in self.weights.items():
            self._check_weights(label, params)
        self._inferred: set[tuple[tuple[str, tuple[int, ...]], ...]] = set()

    def _check(self) -> tuple[str, ...]:
        """The names of the parameters; ValueError where a value is used before it is made, or made twice."""
        if not self.nodes:
            raise ValueError(f"network {self.name!r} has no nodes")
        if not self.name.isidentifier():
            raise ValueError(f"network name {self.name!r} is not an identifier")
        made, parameters = set(self.inputs), []
        for node in self.nodes:
            declared = list(find(node.op).inputs)
            if len(node.inputs) > len(declared):
                raise ValueError(f"node {node.name!r}: {node.op} takes {declared}, got {list(node.inputs)}")
            for value, slot in zip(node.inputs, declared, strict=False):
                if value == f"{node.name}.{slot}":
                    parameters.append(value)
                    made.add(value)  # later nodes may use it, too: its gradients add up
                elif value not in made:
                    raise ValueError(
                        f"node {node.name!r} uses {value!r}, which is not an input, a parameter or an earlier node"
                    )
            if node.name in made:
                raise ValueError(f"two values are named {node.name!r}")
            made.add(node.name)
        for value, shape in self.shapes.items():
            if value not in self.inputs:
                raise ValueError(f"{self.name}: shapes has {value!r}, expected some of {', '.join(self.inputs)}")
            if not isinstance(shape, tuple) or not all(isinstance(n, int) and n > 0 for n in shape):
                raise ValueError(f"{self.name}: the shape of {value!r} is {shape!r}, expected a tuple of lengths")
        return tuple(parameters)

    def _check_weights(self, label: str, params: Params) -> None:
        """ValueError or TypeError unless a set of weights has a finite array of floats for each parameter, of a shape
        that meets those of the others. (Parameters that are handed to `forward` may hold anything: NaN in gives NaN
        out.)"""
        if set(params) != set(self.parameters):
            listed = ", ".join(sorted(set(params) ^ set(self.parameters)))
            raise ValueError(f"{self.name}: the weights {label!r} and the network's parameters differ in {listed}")
        for name, array in params.items():
            if array.dtype.name not in FORMATS:
                raise TypeError(
                    f"{self.name}: {name} of the weights {label!r} has dtype {array.dtype}, expected floats"
                )
            if not (finite := np.isfinite(array)).all():
                place = tuple(np.argwhere(~finite)[0].tolist())
                raise ValueError(
                    f"{self.name}: {name}[{', '.join(map(str, place))}] of the weights {label!r} is {array[place]}, "
                    "expected a finite number"
                )
        try:
            self.infer({**{n: (1, *shape) for n, shape in self.shapes.items()}, **params})
        except (TypeError, ValueError) as wrong:
            raise type(wrong)(f"{wrong} (in the weights {label!r})") from None

    def infer(self, values: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
        """The shape of every value, from the shapes of the inputs and parameters. Nothing is computed.

        `values` maps names to arrays or to shapes. Values that need a name it lacks are left out. ValueError or
        TypeError names the first node whose arrays do not fit together, with their shapes.
        """
        ar = Shapes()
        made = {n: v if _integers(v) else zeros(getattr(v, "shape", v)) for n, v in values.items()}
        for node in self.nodes:
            if not made.keys() >= set(node.inputs):
                continue
            op = find(node.op)
            try:
                arrays, params = op.bind(tuple(self._arguments(node, made)), node.params)
            except (TypeError, ValueError) as wrong:
                call = f"{node.name} = {node.op}({', '.join(node.inputs)})"
                raise type(wrong)(f"{self.name}: at {call}: {str(wrong).removeprefix(f'{node.op}: ')}") from None
            with np.errstate(all="ignore"):
                made[node.name] = zeros(op.forward_definition(ar, *arrays, **params).shape)
        return {n: v.shape for n, v in made.items()}

    def _infer_once(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Infer, unless these shapes were inferred before. Class indices are looked at every time."""
        shapes = tuple((n, a.shape) for n, a in arrays.items())
        if shapes not in self._inferred or any(map(_integers, arrays.values())):
            self.infer(arrays)
            self._inferred.add(shapes)

    # --- values and gradients ----------------------------------------------------------------------------------------

    def forward(self, params: Params, *inputs: np.ndarray) -> Run:
        """The values of all nodes, in the dtype of the inputs. Before it computes anything, ValueError or TypeError
        names the first node whose arrays do not fit together."""
        arrays = self._arrays(params, inputs)
        self._infer_once(arrays)
        dtype = next(a.dtype for a in arrays.values() if a.dtype.kind not in "biu")
        ar = Floats(dtype, convention=self.op.convention)
        with np.errstate(all="ignore"):
            values = self._forward(ar, _lifted(ar, arrays))
        stored = {**arrays, **{n.name: ar.store(values[n.name]) for n in self.nodes}}
        return Run(stored, stored[self.nodes[-1].name])

    def backward(self, run: Run, g: np.ndarray) -> dict[str, np.ndarray]:
        """The gradient for every parameter, given the cotangent `g` of the output (of its shape and dtype)."""
        g = self.op.cotangent(g, run.output.shape, run.output.dtype)
        ar = Floats(run.output.dtype, convention=self.op.convention)
        with np.errstate(all="ignore"):
            grads = self._backward(ar, _lifted(ar, run.values), ar.array(g))
            return {name: ar.store(grads[name]) for name in self.parameters}

    def _arrays(self, params: Params, inputs: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        if len(inputs) != len(self.inputs):
            raise TypeError(f"{self.name} takes the inputs {', '.join(self.inputs)}, got {len(inputs)} of them")
        if missing := [p for p in self.parameters if p not in params]:
            raise ValueError(f"{self.name}: the parameter {missing[0]!r} is missing, got {', '.join(params) or 'none'}")
        arrays = {
            **dict(zip(self.inputs, map(np.asarray, inputs), strict=True)),
            **{p: np.asarray(params[p]) for p in self.parameters},
        }
        dtypes = {n: a.dtype for n, a in arrays.items() if a.dtype.kind not in "biu"}
        if len(set(dtypes.values())) > 1:
            listed = ", ".join(f"{n} is {d}" for n, d in dtypes.items())
            raise TypeError(f"{self.name} takes arrays of one dtype, but {listed}")
        return arrays

    def _forward(
        self, ar: Arithmetic[Any], values: Mapping[str, Array], algorithm: str = "accurate"
    ) -> dict[str, Array]:
        """All values, in any arithmetic. Each node's output is rounded to the storage format. Ops that declare the
        algorithm use it, the others their own definition."""
        made = dict(values)
        for node in self.nodes:
            made[node.name] = self.step(ar, node, made, algorithm)
        return made

    def step(self, ar: Arithmetic[Any], node: Node, values: Mapping[str, Array], algorithm: str = "accurate") -> Array:
        """The output of a node for these values, in any arithmetic, rounded to the storage format."""
        op = find(node.op)
        forward, _ = _algorithm(op, algorithm)
        with _deciding(ar, op):
            return _stored(ar, forward(ar, *self._arguments(node, values), **{**op.defaults, **node.params}))

    def pull(
        self, ar: Arithmetic[Any], node: Node, values: Mapping[str, Array], g: Array, algorithm: str = "accurate"
    ) -> Iterator[tuple[str, Array]]:
        """The names of a node's inputs, each with its cotangent for the cotangent `g` of the node's output."""
        op = find(node.op)
        _, vjp = _algorithm(op, algorithm)
        with _deciding(ar, op):
            grads = vjp(ar, g, values[node.name], *self._arguments(node, values), **{**op.defaults, **node.params})
        for name, grad in zip(node.inputs, grads, strict=False):
            if grad is not None:
                yield name, _stored(ar, grad)

    def _arguments(self, node: Node, values: Mapping[str, Array]) -> list[Array | None]:
        absent = len(find(node.op).inputs) - len(node.inputs)
        return [*(values[n] for n in node.inputs), *[None] * absent]

    def _backward(
        self, ar: Arithmetic[Any], values: Mapping[str, Array], g: Array, algorithm: str = "accurate"
    ) -> dict[str, Array]:
        """The cotangent of every value on which the output depends, in any arithmetic. The cotangents of a value that
        is used several times add up."""
        cotangents = {self.nodes[-1].name: g}
        for node in reversed(self.nodes):
            if node.name in cotangents:
                for name, grad in self.pull(ar, node, values, cotangents[node.name], algorithm):
                    cotangents[name] = cotangents[name] + grad if name in cotangents else grad
        return cotangents

    @cached_property
    def op(self) -> Op:
        """The whole network as one op of its parameters and inputs, so that the oracle treats it like any other op. It
        has gradients for the parameters."""
        return self.differentiated(self.parameters)

    def differentiated(self, wanted: Sequence[str]) -> Op:
        """The whole network as one op, with gradients for the `wanted` ones of its parameters and inputs.

        Its vjp runs the forward again, so that it computes from the same values as an implementation does.
        """
        names = [*self.parameters, *self.inputs]
        ops = [find(n.op) for n in self.nodes]

        def definition(algorithm: str) -> tuple[Callable[..., Array], Callable[..., tuple[Array | None, ...]]]:
            def forward(ar: Arithmetic[Any], *arrays: Array) -> Array:
                return self._forward(ar, dict(zip(names, arrays, strict=True)), algorithm)[self.nodes[-1].name]

            def vjp(ar: Arithmetic[Any], g: Array, y: Array, *arrays: Array) -> tuple[Array | None, ...]:
                values = self._forward(ar, dict(zip(names, arrays, strict=True)), algorithm)
                grads = self._backward(ar, values, g, algorithm)
                return tuple(grads[n] if n in wanted else None for n in names)

            return forward, vjp

        forward, vjp = definition("accurate")
        return Op(
            name=self.name,
            forward_definition=forward,
            vjp_definition=vjp,
            inputs={n: Input(differentiable=n in wanted) for n in names},
            validate=lambda inputs, params: self._infer_once(inputs),
            variants=(Variant({}),),
            algorithms={c: definition(c) for c in dict.fromkeys(c for op in ops for c in op.algorithms)},
            kinks=_kinks(ops),
        )

    # --- files -------------------------------------------------------------------------------------------------------

    def save(self, folder: str | Path) -> None:
        """Write network.json and one safetensors file for each set of weights (see `refnn.networks.files`). ValueError
        names the node whose op is none of the catalogue."""
        nodes = [{"name": n.name, "op": n.catalogued, "inputs": n.inputs, "params": n.params} for n in self.nodes]
        fields = {"name": self.name, "inputs": self.inputs, "shapes": self.shapes, "about": self.about, "nodes": nodes}
        files.write(Path(folder), fields, self.weights)

    @classmethod
    def load(cls, name: str | Path) -> Network:
        """A network of the conformance data by its name, or any network by its folder.

        FileNotFoundError or ValueError says what is missing, what was changed after it was saved, or why it is not a
        network.
        """
        folder = Path(name)
        if not (folder / files.NAME).exists():
            if str(name) not in (known := fixtures()):
                raise FileNotFoundError(
                    f"no network {str(name)!r}: neither a folder with {files.NAME} nor a fixture, "
                    f"which are {', '.join(known)}"
                )
            folder = data("networks", str(name))
        fields, weights = files.read(folder)
        fields["nodes"] = [Node(**{k: _tuples(v) for k, v in n.items()}) for n in fields["nodes"]]
        fields["shapes"] = _tuples(fields["shapes"])
        return cls(**fields, weights=weights)


def _stored(ar: Arithmetic[Any], x: Array) -> Array:
    """A result as the next node gets it: rounded to the storage format, if the arithmetic has one."""
    stored = ar.store(x)
    return ar.array(stored) if isinstance(ar, Floats) else stored


def fixtures() -> tuple[str, ...]:
    """The names of the networks of the conformance data."""
    return tuple(sorted(path.parent.name for path in data("networks").glob(f"*/{files.NAME}")))


def _tuples(value: Any) -> Any:
    """The lists of JSON as the tuples of a network."""
    if isinstance(value, dict):
        return {k: _tuples(v) for k, v in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _algorithm(op: Op, name: str) -> Any:
    return op.algorithm(name if name in op.algorithms else "accurate")


def _kinks(ops: Iterable[Op]) -> dict[str, Convention]:
    """The conventions of a network: every combination of one convention for each of its ops, the ops' own first."""
    kinked = {op.name: op for op in ops if op.kinks}
    chosen = itertools.product(*(op.kinks for op in kinked.values())) if kinked else ()
    return {
        ", ".join(dict.fromkeys(names)): {op.name: op.kinks[n] for op, n in zip(kinked.values(), names, strict=True)}
        for names in chosen
    }


@contextmanager
def _deciding(ar: Arithmetic[Any], op: Op) -> Iterator[None]:
    """While it runs this op, an arithmetic with a convention for each op of a network decides kinks by this op's."""
    each = ar.convention
    if isinstance(each, Mapping):
        ar.convention = each.get(op.name, "first")  # of an op without kinks a text: in Duals no number may decide
    try:
        yield
    finally:
        ar.convention = each


def _integers(value: Any) -> bool:
    """Whether a value is an array of indices, such as classes, whose numbers matter for validity."""
    return getattr(value, "dtype", np.dtype(float)).kind in "biu"


def _lifted(ar: Floats, arrays: Mapping[str, np.ndarray]) -> dict[str, Array]:
    return {k: v if v.dtype.kind in "biu" else ar.array(v) for k, v in arrays.items()}


def mlp(widths: Sequence[int], *, activation: str = "relu", active_last: bool = False, name: str = "mlp") -> Network:
    """A fully connected network of these widths: affine layers fc1, fc2, ..., each but the last with its activation.

        a^n = W^n x^(n-1) + b^n,  x^n = g(a^n),  x^0 = x   challa2023 (8), (21); cnnmath (forward propagation)

    With `active_last` the last layer has an activation too, as in cnnmath. Weights are (out, in), cnnmath's W_ji;
    challa2023's w_ij is their transpose.
    """
    if len(widths) < 2 or min(widths) < 1:
        raise ValueError(f"mlp: widths is {tuple(widths)}, expected at least two numbers of nodes, none below 1")
    nodes: list[Node] = []
    x, last = "x", len(widths) - 1
    for n in range(1, last + 1):
        nodes.append(Node(f"fc{n}", "linear", (x, f"fc{n}.weight", f"fc{n}.bias")))
        if n < last or active_last:
            nodes.append(Node(f"{activation}{n}", activation, (f"fc{n}",)))
        x = nodes[-1].name
    return Network(nodes, name=name, shapes={"x": (widths[0],)})


@functools.cache
def subject(name: str) -> Op:
    """The op of that name, or the fixture network of that name as one op. LookupError says that there is neither."""
    if name in OPS:
        return OPS[name]
    if name in fixtures():  # and no path, which Network.load would take
        return Network.load(name).op
    if near := nearest(name, fixtures()):
        raise LookupError(f"unknown op {name!r}, did you mean the network {near!r}?")
    return find(name)  # whose error names the nearest op
