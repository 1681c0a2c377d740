"""torch.nn.Modules as networks: torch.fx follows the forward, and each layer or function in it becomes a node.

Names decide which op a layer or function is. Ops are named as in torch.nn.functional. A layer has the name of its
function, apart from capitals, underscores and the word Loss. Parameters have the same names. An argument that the op
does not have must have the value that the op assumes. Everything else is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.fx

from refnn.implementations.torch import SPELLING, to_numpy
from refnn.networks.network import Network, Node
from refnn.ops import OPS

Spec = tuple[str, str, tuple[str, ...], dict[str, Any]]  # of a node: name, op, inputs, parameters


def _key(name: str) -> str:
    return name.lower().replace("_", "")


_OPS = {_key(op): op for op in OPS}
LAYERS: Mapping[type[torch.nn.Module], str] = {
    kind: _OPS[key]
    for name, kind in vars(torch.nn).items()
    for key in (_key(name), _key(name).removesuffix("loss"))
    if isinstance(kind, type) and key in _OPS
} | {
    torch.nn.BCEWithLogitsLoss: "binary_cross_entropy_with_logits",
    **{kind: "dropout" for name, kind in vars(torch.nn).items() if "Dropout" in name},
}

# The arguments of layers and functions that the ops do not have, with the values that the ops assume.
GRANTED: Mapping[str, Any] = {
    "padding_mode": "zeros",
    "return_indices": False,
    "end_dim": -1,
    "dtype": None,
    "alpha": 1,
    "rounding_mode": None,
    "size_average": None,
    "reduce": None,
}


class Refused(TypeError):
    """What a network cannot represent, in one sentence."""

    def __init__(self, sentence: str) -> None:
        super().__init__(f"Network.from_torch: {sentence}")


def nodes_of(module: Any) -> tuple[list[Spec], tuple[str, ...]]:
    """The nodes and the names of the inputs of a module. TypeError says which part of it has no op."""
    traced = _traced(module)
    nodes: list[Spec] = []
    names: dict[torch.fx.Node, str] = {}  # of values
    for node in traced.graph.nodes:
        if node.op == "output":
            if not isinstance(node.args[0], torch.fx.Node):
                raise Refused(f"the module returns {node.args[0]}, expected one tensor")
        elif node.op in ("placeholder", "get_attr"):
            names[node] = "x" if node.target == "input" else str(node.target)  # as in a Sequential
        elif not node.users:
            raise Refused(f"the result of {node.target!r} is not used")
        elif (spec := _spec(traced, node, names)) is None:
            names[node] = names[node.all_input_nodes[0]]
        elif spec[0] in (before[0] for before in nodes):
            raise Refused(f"{spec[0]!r} is used twice, expected a layer for each use")
        else:
            names[node] = spec[0]
            nodes.append(spec)
    return nodes, tuple(names[n] for n in traced.graph.nodes if n.op == "placeholder")


def _traced(module: Any) -> torch.fx.GraphModule:
    if not isinstance(module, torch.nn.Module):
        raise Refused(f"got a {type(module).__name__}, expected a torch.nn.Module")
    if type(module) in LAYERS:
        raise Refused(f"got a single {type(module).__name__}, expected it in a torch.nn.Sequential, which names it")
    owners: dict[int, str] = {}
    for name, p in module.named_parameters(remove_duplicate=False):
        if (other := owners.setdefault(id(p), name)) != name:
            raise Refused(f"{other!r} and {name!r} are one parameter, expected one for each")
    try:
        return torch.fx.symbolic_trace(module)
    except Exception as e:
        raise Refused(f"torch.fx cannot follow the forward of the {type(module).__name__}: {e}") from e


def _spec(traced: torch.fx.GraphModule, node: torch.fx.Node, names: Mapping[torch.fx.Node, str]) -> Spec | None:
    """A layer or a function as a node; None if it returns its input."""
    kind, arrays, said = _layer(traced, node) if node.op == "call_module" else _function(traced, node)
    if kind is torch.nn.Identity:
        return None
    op = LAYERS.get(kind) if isinstance(kind, type) else _OPS.get(_key(kind))
    shown = f"{node.target!r} ({kind.__name__})" if isinstance(kind, type) else f"the function {kind}"
    if op is None:
        raise Refused(f"there is no op for {shown}; `refnn ops` lists the ops")
    if op in ("dropout", "rrelu") and said["training"]:
        raise Refused(f"{shown} is random in training mode: call eval() on the module first")
    if op == "dropout":
        return None
    if op == "rrelu":
        op, said = "leaky_relu", {"negative_slope": (said["lower"] + said["upper"]) / 2}
    if said.get("inplace") and len(node.all_input_nodes[0].users) > 1:
        raise Refused(f"{shown} overwrites a value that is used elsewhere, too")
    params = settings(op, said, shown)
    inputs = tuple(a if isinstance(a, str) else names[a] for a in arrays)
    own = {names[a].rpartition(".")[0] for a in arrays if not isinstance(a, str) and a.op == "get_attr"}
    label = str(node.target) if isinstance(kind, type) else own.pop() if len(own) == 1 else node.name
    return label, op, inputs, params


def settings(op: str, said: Mapping[str, Any], shown: str) -> dict[str, Any]:
    """The parameters of a node, of what a layer or a call says. Refused says what the op does not have."""
    for name, only in GRANTED.items():
        if name not in OPS[op].defaults and said.get(name, only) != only:
            raise Refused(f"{shown} has {name}={said[name]!r}, expected {only!r}")
    if "correction" in OPS[op].defaults and said.get("correction") is None:  # as PyTorch's own default is
        said = {**said, "correction": int(said.get("unbiased", True))}
    params = {}
    for name, default in OPS[op].defaults.items():
        value = said.get(SPELLING.get(name, name), default)
        value = tuple(value) if name == "normalized_shape" else _plain(value)
        if isinstance(value, (torch.Tensor, torch.fx.Node)):
            raise Refused(f"{shown} has an array as {name}, expected None: the parameters of a node are numbers")
        if value != default:
            params[name] = value
    if "stride" in params and params["stride"] == params.get("kernel_size"):
        del params["stride"]  # which is what pools take
    if params.get("axis", 0) is None:
        raise Refused(f"{shown} does not say along which dim")
    return params


Call = tuple[
    Any, list[Any], Mapping[str, Any]
]  # the class of a layer or the name of a function, arrays, what else is said


def _layer(traced: torch.fx.GraphModule, node: torch.fx.Node) -> Call:
    layer = traced.get_submodule(str(node.target))
    own = [f"{node.target}.{name}" for name, p in layer.named_parameters(recurse=False)]
    return type(layer), [*node.all_input_nodes, *own], {**vars(layer), **dict(layer.named_buffers(recurse=False))}


def _function(traced: torch.fx.GraphModule, node: torch.fx.Node) -> Call:
    name = str(node.target)
    if node.op == "call_method" and hasattr(torch, name):  # x.relu() is torch.relu(x)
        node.op, node.target = "call_function", getattr(torch, name)
    if not callable(node.target):
        return f"{name}()", [], {}
    name = node.target.__name__
    types: Any = tuple(torch.Tensor if isinstance(a, torch.fx.Node) else type(a) for a in node.args)
    try:
        given = node.normalized_arguments(traced, types, normalize_to_only_use_kwargs=True)
    except RuntimeError:
        given = None
    if given is None or name.endswith("_"):  # as those do that write into their input
        return f"{name}()", [], {}
    arrays = [a for a in given.kwargs.values() if isinstance(a, torch.fx.Node)]
    return name.lstrip("_"), arrays, given.kwargs


def _plain(value: Any) -> Any:
    """A parameter as the record of an op has it: one number if all axes have the same, None if there is none."""
    if not isinstance(value, (list, tuple)):
        return value
    same = len(set(value)) == 1 and isinstance(value[0], int)
    return value[0] if same else tuple(value) or None


def network(module: Any, *, name: str = "network") -> Network:
    """The network of a torch.nn.Module. Its parameters become the weights "module".

    The module may use ops of the catalogue as layers and as functions, in any nesting that torch.fx can follow. Dropout
    in evaluation is left out. TypeError says which part of the module has no op.
    """
    specs, inputs = nodes_of(module)
    nodes = [Node(*spec) for spec in specs]
    used = {value for node in nodes for value in node.inputs}
    weights = {k: to_numpy(v).copy() for k, v in module.named_parameters() if k in used}
    first = {n.inputs[0]: weights[n.inputs[1]].shape[1:] for n in nodes if n.op == "linear"}
    vectors = {n: first[n] for n in inputs if n in first}
    net = Network(nodes, name=name, inputs=inputs, weights={"module": weights})
    try:
        return Network(nodes, name=name, inputs=inputs, weights=net.weights, shapes=vectors)
    except ValueError:
        return net  # the input of its linear layers is not a batch of vectors
