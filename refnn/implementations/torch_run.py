"""One run of a PyTorch module, call by call: what each function was given and gave, forward and backward.

A module runs as its user runs it, eagerly and with autograd. Each function of PyTorch that it calls is seen with its
arrays. Of each the cotangent that arrives and the gradients that leave are seen too, because what goes in and what
comes out passes through an identity that looks at its gradient. So a function of the user's own (a subclass of
torch.autograd.Function) is seen with the backward that it has: it is the network of what its forward calls.

torch.export would follow a backward that is the user's own by the forward alone, and refuses what depends on data.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from refnn.implementations.torch import to_numpy, to_torch
from refnn.implementations.torch_calls import bound, drops, said
from refnn.implementations.torch_modules import LAYERS, Refused
from refnn.networks.network import Network, Node
from refnn.op import Op
from refnn.ops import ALSO_CALLED, OPS

Array = np.ndarray
_OPS = {op.replace("_", ""): op for op in OPS}
SWAPPED = {"rsub": "sub"}  # f(x, other) is the op of other and x
SAME = ("contiguous", "clone", "to", "float", "double")  # what gives the numbers that it was given, and their gradients


@dataclass
class Ran:
    """One call of a function that is an op, or of a function of the user's own.

    `inputs` has for each input of the op the name of the value and its numbers, None where it is absent. `kept` has
    what left as its gradient, in the same order. `cotangent` is what arrived, None if nothing did. `alone` says why the
    call is no node of a network.
    """

    name: str
    op: Op
    inputs: list[tuple[str, Array] | None]
    params: Mapping[str, Any]
    output: Array
    alone: str = ""
    cotangent: Array | None = None
    kept: list[list[Array]] = field(default_factory=list)

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


class _Watched(torch.autograd.Function):
    """The identity, which hands each gradient that passes to `keep`."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, keep: Callable[[torch.Tensor], None], copied: bool) -> torch.Tensor:
        ctx.keep = keep
        return x.clone() if copied else x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        ctx.keep(grads[0])
        return grads[0], None, None


_identity = _Watched.apply


def _watched(x: torch.Tensor, keep: Callable[[torch.Tensor], None], copied: bool) -> torch.Tensor:
    with torch._C.DisableTorchFunction():
        watched: torch.Tensor = _identity(x, keep, copied)
        return watched


def _keeping(kept: list[Array]) -> Callable[[torch.Tensor], None]:
    return lambda g: kept.append(to_numpy(g).copy())


class Recorder(TorchFunctionMode):
    """Sees what a module calls. `module` names the values: its parameters, and its layers by their paths."""

    def __init__(self, module: torch.nn.Module, inputs: Sequence[Any], names: Sequence[str]) -> None:
        super().__init__()
        self.seen, self.path = Seen(), [""]
        self.layers = {id(m): name for name, m in module.named_modules()}
        self.kinds = {name: type(m) for name, m in module.named_modules()}
        self.values: dict[int, tuple[torch.Tensor, str]] = {}
        self.own = {id(p): name for name, p in module.named_parameters()}
        self.roots: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}  # of a copy, and what it is a copy of
        self.inside = False  # of a function of the user's own, which autograd does not look into
        self._names: set[str] = set()
        for x, name in zip(inputs, names, strict=True):
            self.name(x, name)

    def name(self, x: Any, name: str) -> None:
        self.values[id(x)] = (x, name)  # held, so that no other tensor has its id

    # --- functions of PyTorch ----------------------------------------------------------------------------------------

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        plain = str(getattr(func, "__name__", func))
        if kwargs.get("inplace"):
            kwargs["inplace"] = False  # or it would overwrite what is to be seen
        if plain.endswith("_") and not plain.endswith("__") and hasattr(torch.Tensor, plain[:-1]):
            func, plain = getattr(torch.Tensor, plain[:-1]), plain[:-1]
        given: list[tuple[torch.Tensor, torch.Tensor, list[Array]]] = []  # as passed, as it was, its gradient

        def watched(x: Any) -> Any:
            if not isinstance(x, torch.Tensor):
                return x
            kept: list[Array] = []
            passed = x
            if torch.is_grad_enabled() and x.requires_grad:
                passed = _watched(x, _keeping(kept), False)
            given.append((passed, x, kept))
            return passed

        key = plain.strip("_").replace("_", "")
        op = _OPS.get(key) or SWAPPED.get(key) or _OPS.get(ALSO_CALLED.get(plain.strip("_"), "").replace("_", ""))
        if op is None or plain == "__get__":
            return self._other(func(*args, **kwargs), func, plain, args, kwargs)
        try:
            call = pytree.tree_map(watched, (args, kwargs))
            named = said(func, plain, *call)
            slots, params = bound(op, named, key in SWAPPED)
        except Refused as e:
            return self._other(func(*args, **kwargs), func, plain, args, kwargs, str(e))
        y = func(*call[0], **call[1])
        if op == "dropout" and not drops(named):
            return self._same(y, given[0][1])
        if not isinstance(y, torch.Tensor):
            return self._other(y, func, plain, args, kwargs)
        return self._record(self._label(op), OPS[op], slots, params, given, y)

    def _other(self, y: Any, func: Any, plain: str, args: Any, kwargs: Any, why: str = "") -> Any:
        """What a function gave that is no op. If it takes numbers and gives numbers it is noted, with its place."""
        tensors = [t for t in pytree.tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        made = [t for t in pytree.tree_leaves(y) if isinstance(t, torch.Tensor) and t.is_floating_point()]
        if not made or not tensors:
            return y
        if (
            plain in SAME
            and isinstance(y, torch.Tensor)
            and y.dtype == tensors[0].dtype
            and y.shape == tensors[0].shape
        ):
            return self._same(y, tensors[0])
        if plain == "__get__":
            plain = getattr(getattr(func, "__self__", None), "__name__", plain)  # of an attribute such as T
        sentence = why.partition(": ")[2] or f"there is no op for {plain}"
        self.seen.others.setdefault(f"{'.'.join(filter(None, (self.path[-1], plain)))} ({_source()})", sentence)
        return y

    def _same(self, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        self.roots[id(y)] = (y, self._root(x))  # held, as the values are
        return y

    def named(self, x: torch.Tensor) -> str | None:
        """The name of a value that was seen."""
        return self.values.get(id(self._root(x)), (x, None))[1]

    def _root(self, x: torch.Tensor) -> torch.Tensor:
        return self.roots[id(x)][1] if id(x) in self.roots else x

    def value(self, x: torch.Tensor, node: str, slot: str) -> str:
        """The network's name for a tensor that goes into a slot of a node: a constant, where it comes from nowhere."""
        x = self._root(x)
        if id(x) in self.values:
            return self.values[id(x)][1]
        name = f"{node}.{slot}"
        self.values[id(x)] = (x, name)
        if id(x) in self.own:
            self.seen.parameters[name] = self.own[id(x)]
        self.seen.constants[name] = to_numpy(x).copy()
        return name

    def _label(self, op: str) -> str:
        """The name of a node: that of its layer, if the layer is one of PyTorch's, or with the op behind it."""
        path = self.path[-1]
        leaf = path and self.kinds.get(path) in LAYERS
        label = path if leaf else ".".join(filter(None, (path, op)))
        return self._unique(label)

    def _unique(self, label: str) -> str:
        name, n = label, 1
        while name in self._names:
            n += 1
            name = f"{label}_{n}"
        self._names.add(name)
        return name

    def _record(
        self,
        name: str,
        op: Op,
        slots: Mapping[str, Any],
        params: Mapping[str, Any],
        given: list[tuple[torch.Tensor, torch.Tensor, list[Array]]],
        y: torch.Tensor,
    ) -> torch.Tensor:
        """Note a call, and watch the cotangent of its output."""
        origin = {id(passed): (x, kept) for passed, x, kept in given}
        inputs: list[tuple[str, Array] | None] = []
        kept_of: list[list[Array]] = []
        for slot in op.inputs:
            value = slots.get(slot)
            kept: list[Array] = []
            if isinstance(value, torch.Tensor):
                x, kept = origin.get(id(value), (value, []))
                inputs.append((self.value(x, name, slot), to_numpy(x).copy()))
            elif value is None:
                inputs.append(None)
            else:
                constant = np.asarray(value, to_numpy(y).dtype)
                self.seen.constants[f"{name}.{slot}"] = constant
                inputs.append((f"{name}.{slot}", constant))
            kept_of.append(kept)
        try:
            op.bind([None if v is None else v[1] for v in inputs], params)
        except (TypeError, ValueError) as e:
            self.seen.others.setdefault(f"{name} ({_source()})", str(e))
            return y
        ran = Ran(name, op, inputs, params, to_numpy(y).copy(), kept=kept_of)
        given_slots = [v is not None for v in inputs]
        if op.name not in OPS:
            ran.alone = "a torch.autograd.Function of one's own is no node"
        elif not y.requires_grad and not self.inside and any(x.requires_grad for _, x, _ in given):
            ran.alone = "no gradient flows through it"
        elif sorted(given_slots, reverse=True) != given_slots:
            absent, names = given_slots.index(False), [*op.inputs]
            present = absent + given_slots[absent:].index(True)
            ran.alone = f"{names[present]} is given and {names[absent]} is absent"
        self.seen.ran.append(ran)
        if y.requires_grad:

            def arrived(g: torch.Tensor) -> None:
                ran.cotangent = to_numpy(g).copy()

            y = _watched(y, arrived, True)
        self.name(y, name)
        return y

    # --- functions of the user's own ---------------------------------------------------------------------------------

    def call_own(self, kind: Any, run: Callable[..., Any], args: Sequence[Any]) -> Any:
        """A subclass of torch.autograd.Function: the network of what its forward calls, with the backward it has."""
        given: list[tuple[torch.Tensor, torch.Tensor, list[Array]]] = []
        passed = []
        for x in args:
            kept: list[Array] = []
            if isinstance(x, torch.Tensor) and x.requires_grad and torch.is_grad_enabled():
                p = _watched(x, _keeping(kept), False)
                given.append((p, x, kept))
                passed.append(p)
            else:
                if isinstance(x, torch.Tensor):
                    given.append((x, x, kept))
                passed.append(x)
        name = self._unique(".".join(filter(None, (self.path[-1], kind.__name__))))
        outer, self.seen, names = self.seen, Seen(), [f"x{i}" for i in range(len(given))]
        saved, labels = dict(self.values), self._names
        self._names, outside, self.inside = set(), self.inside, True
        for (p, _, _), short in zip(given, names, strict=True):
            self.name(p, short)
        try:
            y = run(*passed)
        finally:
            inner, self.seen, self.values, self._names, self.inside = self.seen, outer, saved, labels, outside
        if not isinstance(y, torch.Tensor):
            self.seen.others[f"{name} ({_source()})"] = "a function with several outputs"
            return y
        with torch._C.DisableTorchFunction():
            return self._record_own(name, inner, names, given, y)

    def _record_own(self, name: str, inner: Seen, names: Sequence[str], given: list[Any], y: torch.Tensor) -> Any:
        """Note what the forward of a function of one's own called, as one op."""
        try:
            inner.outputs = [inner.ran[-1].name] if inner.ran else []
            if not inner.ran or not np.array_equal(inner.ran[-1].output, to_numpy(y), equal_nan=True):
                raise Refused(f"the forward of {name} does not return the result of an op")
            net = network_of(inner, names, name.rpartition(".")[2])
        except (TypeError, ValueError) as e:
            self.seen.others[f"{name} ({_source()})"] = str(e).removeprefix("Network.from_torch: ")
            return y
        constants = {p: to_torch(np.array(net.weights["module"][p])) for p in net.parameters}
        slots = {**constants, **{n: p for n, (p, _, _) in zip(names, given, strict=True)}}
        return self._record(name, net.differentiated(net.inputs), slots, {}, given, y)


def _source() -> str:
    """The line of the user's that is running: the innermost that is neither PyTorch's nor ours."""
    for frame in reversed(traceback.extract_stack()):
        if not any(part in frame.filename for part in ("/torch/", "/refnn/implementations/", "/refnn/checking/")):
            return f"{frame.filename}:{frame.lineno}"
    return "unknown"


# --- a run, and the network of it ------------------------------------------------------------------------------------


@contextmanager
def _recording(recorder: Recorder, module: torch.nn.Module) -> Iterator[None]:
    """While it lasts, the recorder sees every function and knows in which layer it runs."""
    base: Any = torch.autograd.function._SingleLevelFunction  # whose `apply` a bound Function.apply calls, too

    def seen_apply(cls: Any, *args: Any, **kwargs: Any) -> Any:
        def run(*given: Any) -> Any:
            return super(base, cls).apply(*given, **kwargs)

        return run(*args) if cls is _Watched else recorder.call_own(cls, run, args)

    def enter(layer: Any, _: Any) -> None:
        recorder.path.append(recorder.layers[id(layer)])

    def leave(layer: Any, _: Any, __: Any) -> None:
        recorder.path.pop()

    hooks = [h for m in module.modules() for h in (m.register_forward_pre_hook(enter), m.register_forward_hook(leave))]
    base.apply = classmethod(seen_apply)
    try:
        with recorder:
            yield
    finally:
        del base.apply
        for h in hooks:
            h.remove()


def names_of(module: torch.nn.Module, inputs: Sequence[Any]) -> tuple[str, ...]:
    """The names of the inputs: those of the parameters of the module's forward."""
    taken = list(inspect.signature(module.forward).parameters)
    plain = [n if n != "input" else "x" for n in taken[: len(inputs)]]
    return tuple(plain) if len(plain) == len(inputs) else tuple(f"x{i}" for i in range(len(inputs)))


def observe(
    module: torch.nn.Module,
    inputs: Sequence[Any],
    loss: Callable[..., torch.Tensor] | None = None,
    *,
    seed: int = 0,
    backward: bool = True,
) -> Seen:
    """Run a module on tensors, forward and backward from the loss of its outputs, and see each call.

    Without a loss it is half the sum of squares of the outputs. Gradients, buffers and the generator are afterwards as
    they were. RuntimeError says that the run that was seen gave other numbers than a plain one.
    """
    with torch.random.fork_rng(), _kept(module) as restore:
        torch.manual_seed(seed)
        fresh = [x.detach().clone().requires_grad_(x.is_floating_point()) for x in inputs]
        plain = [y.detach() for y in _outputs(module(*fresh))]  # with gradients, or other kernels would run
        restore()
        leaves = [x.detach().clone().requires_grad_(x.is_floating_point()) for x in inputs]
        recorder = Recorder(module, leaves, names_of(module, inputs))
        torch.manual_seed(seed)
        with _recording(recorder, module):
            made = module(*leaves)
            outputs = _outputs(made)
            recorder.seen.outputs = [n for y in outputs if (n := recorder.named(y)) is not None]
            total = loss(made) if loss is not None else None
        if not all(torch.equal(a, b) or alike(a, b) for a, b in zip(plain, outputs, strict=True)):
            raise RuntimeError(
                f"check_model: {type(module).__name__} gave other numbers when it was watched; it may write into its "
                "values, or draw random numbers in another order"
            )
        if backward:
            roots = [y for y in outputs if y.requires_grad] if total is None else [total]
            if roots:
                torch.autograd.backward(roots, [y.detach() if total is None else torch.ones_like(y) for y in roots])
    return recorder.seen


@contextmanager
def _kept(module: torch.nn.Module) -> Iterator[Callable[[], None]]:
    """What puts the gradients of a module's parameters and its buffers back, and does so at the end."""
    grads = {p: p.grad for p in module.parameters()}
    buffers = {b: b.detach().clone() for b in module.buffers()}

    def restore() -> None:
        for p, g in grads.items():
            p.grad = g
        with torch.no_grad():
            for b, numbers in buffers.items():
                b.copy_(numbers)

    try:
        yield restore
    finally:
        restore()


def alike(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.shape == b.shape and np.array_equal(to_numpy(a), to_numpy(b), equal_nan=True)


def _outputs(made: Any) -> list[torch.Tensor]:
    found = [t for t in pytree.tree_leaves(made) if isinstance(t, torch.Tensor) and t.is_floating_point()]
    if not found:
        raise TypeError(f"check_model: the module returned a {type(made).__name__}, expected tensors of floats")
    return found


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
        Node(r.name, r.op.name, tuple(called.get(v[0], v[0]) for v in r.inputs if v is not None), dict(r.params))
        for r in calls
    ]
    return Network(
        nodes,
        name=name if name.isidentifier() else "network",
        inputs=tuple(inputs),
        weights={"module": constants},
        about={"torch": {called[n]: p for n, p in seen.parameters.items() if n in called}},
    )


def network(module: Any, inputs: Any, *, name: str = "network") -> Network:
    """The network of a torch.nn.Module as it runs on these example tensors (a tuple).

    Its nodes are the functions of PyTorch that the forward calls. Parameters, buffers and constants become the weights
    "module". TypeError names all that has no op, each with its layer and its line in the source.
    """
    if not isinstance(module, torch.nn.Module):
        raise Refused(f"got a {type(module).__name__}, expected a torch.nn.Module")
    given = inputs if isinstance(inputs, (tuple, list)) else (inputs,)
    if odd := [type(x).__name__ for x in given if not isinstance(x, torch.Tensor)]:
        raise Refused(f"an example input is a {odd[0]}, expected tensors")
    seen = observe(module, given, backward=False)
    return network_of(seen, names_of(module, given), name)
