"""What sees a run of a PyTorch module: each function that is called, its arrays, its cotangent and its gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from refnn.implementations.torch import to_numpy, to_torch
from refnn.implementations.torch_calls import bound, drawn, drops, said
from refnn.implementations.torch_composed import COMPOSED, opened, opens, unwritten
from refnn.implementations.torch_modules import LAYERS, Refused
from refnn.implementations.torch_moves import CHOICES, MOVES, chosen, places
from refnn.implementations.torch_network import Ran, Seen, network_of
from refnn.implementations.torch_watch import keeping, source, watched
from refnn.networks.moves import CAST, moving
from refnn.op import Op
from refnn.ops import ALSO_CALLED, OPS

Array = np.ndarray
_OPS = {op.replace("_", ""): op for op in OPS}
SWAPPED = {"rsub": "sub"}  # f(x, other) is the op of other and x
DROPOUTS = {f"dropout{n}d": "dropout" for n in (1, 2, 3)}  # which draw one number for a whole channel
VARIES = "its places depend on the numbers of the run"
OWN = "a torch.autograd.Function of one's own is no node"
# What gives the numbers that it was given, or casts them.
CASTS = ("contiguous", "clone", "to", "type", "type_as", "float", "double", "half", "bfloat16")
# What holds no number of its arguments.
BLANK = ("zeros_like", "ones_like", "full_like", "empty_like", "new_zeros", "new_ones", "new_full", "new_empty")


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
        self.rewritten: dict[int, tuple[torch.Tensor, Any]] = {}  # what was written into, and what it holds now
        self.inside = False  # of a function of the user's own, which autograd does not look into
        self.varying = {id(x): x for x in (*inputs, *module.parameters())}  # and all that is made of them
        self.made: set[str] = set()  # constants of this run that are made of what it was given, such as a mask
        self._names: set[str] = set()
        for x, name in zip(inputs, names, strict=True):
            self.name(x, name)

    def name(self, x: Any, name: str) -> None:
        self.values[id(x)] = (x, name)  # held, so that no other tensor has its id

    # --- functions of PyTorch ----------------------------------------------------------------------------------------

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args, kwargs = self.current((args, dict(kwargs or {})))
        made = self._seen(func, args, kwargs)
        if self._varies((args, kwargs)):
            self.varying |= {id(t): t for t in pytree.tree_leaves(made) if isinstance(t, torch.Tensor)}
        return made

    def current(self, given: Any) -> Any:
        """The same with what tensors hold after all that was written into them."""

        def now(t: Any) -> Any:
            while id(t) in self.rewritten:
                t = self.rewritten[id(t)][1]
            return t

        return pytree.tree_map(now, given)

    def _varies(self, given: Any) -> bool:
        """Whether something that was given is an input or a parameter, or made of one."""
        return any(id(t) in self.varying for t in pytree.tree_leaves(given))

    def _seen(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        plain = str(getattr(func, "__name__", func))
        if plain == "__get__":
            plain = getattr(getattr(func, "__self__", None), "__name__", plain)  # of an attribute such as T
            if plain not in MOVES:
                return self._other(func(*args, **kwargs), plain, args, kwargs)
        if kwargs.get("inplace"):
            kwargs["inplace"] = False  # or it would overwrite what is to be seen
        if (twin := unwritten(plain, args)) is None:
            return self._called(func, plain, args, kwargs)
        if args[0]._is_view():
            why = f"{plain}: {plain} writes into a view, and is not judged"
            return self._other(func(*args, **kwargs), plain, args, kwargs, why)
        y = self._called(*twin, kwargs)
        self.rewritten[id(args[0])] = (args[0], y)  # held, as the values are
        return y

    def _called(self, func: Any, plain: str, args: Any, kwargs: dict[str, Any]) -> Any:
        if plain in CASTS and args[0].is_floating_point():
            return self._cast(func, plain, args, kwargs)
        given, call = self._watching((args, kwargs))
        try:
            if kwargs.get("out") is not None:
                raise Refused(f"{plain} writes into out=, and is not judged")
            op, slots, params = self._found(func, plain, call)
        except Refused as e:
            if plain.strip("_") in MOVES:
                return self._moved(func, plain.strip("_"), args, kwargs)
            if plain in CHOICES:
                return self._chosen(func, plain, args, kwargs)
            if opens(func):
                with self:
                    return opened(func)(*args, **kwargs)
            return self._other(func(*args, **kwargs), plain, args, kwargs, str(e))
        if op.name != "dropout":
            y = func(*call[0], **call[1])
            if not isinstance(y, torch.Tensor) or not y.is_floating_point():
                return self._other(y, plain, args, kwargs)
            return self._record(self._label(op.name), op, slots, params, given, y)
        if not drops(said(func, plain, *call)):
            return self._same(func(*call[0], **call[1]), given[0][1])
        rest, named = call[0][1:], {k: v for k, v in call[1].items() if k != "input"}
        y, slots["mask"] = drawn(lambda x: func(x, *rest, **named), given[0][0])
        return self._record(self._label(op.name), op, slots, params, given, y, "it draws random numbers")

    def _found(self, func: Any, plain: str, call: Any) -> tuple[Op, dict[str, Any], dict[str, Any]]:
        """The op of a call, what goes into its slots, and its parameters. Refused if there is none."""
        word = plain.strip("_")
        key = word.replace("_", "")
        if word in COMPOSED:
            return COMPOSED[word](*said(func, plain, *call).values())
        name = _OPS.get(key) or SWAPPED.get(key) or DROPOUTS.get(key)
        name = name or _OPS.get(ALSO_CALLED.get(word, "").replace("_", ""))
        if name is None:
            raise Refused(f"there is no op for {plain}")
        return OPS[name], *bound(name, said(func, plain, *call), key in SWAPPED)

    def _watching(self, call: Any) -> tuple[list[tuple[torch.Tensor, torch.Tensor, list[Array]]], Any]:
        """The tensors of a call, each as it is passed, as it was, and with what is kept of its gradient; and the call
        with what is passed."""
        given: list[tuple[torch.Tensor, torch.Tensor, list[Array]]] = []

        def pass_on(x: Any) -> Any:
            if not isinstance(x, torch.Tensor):
                return x
            kept: list[Array] = []
            passed = x
            if torch.is_grad_enabled() and x.requires_grad:
                passed = watched(x, keeping(kept), False)
            given.append((passed, x, kept))
            return passed

        return given, pytree.tree_map(pass_on, call)

    def _moved(self, func: Any, plain: str, args: Any, kwargs: Any) -> Any:
        """What a function gave that moves numbers. Each tensor that it gave is made by a call of its own, or else the
        gradients of all of them would arrive as one sum."""
        made = func(*args, **kwargs)
        leaves = [t for t in pytree.tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        numbers = [x for x in leaves if x.is_floating_point()]
        outputs, form = pytree.tree_flatten(made)
        if not numbers or not all(isinstance(y, torch.Tensor) and y.is_floating_point() for y in outputs):
            return self._other(made, plain, args, kwargs)
        try:
            found = places(func, plain, args, kwargs, outputs)
        except Refused as e:
            return self._other(made, plain, args, kwargs, str(e))
        varies = self._varies([x for x in leaves if not x.is_floating_point()])
        # A function of one's own is judged on this run alone.
        alone = VARIES if varies and not self.inside else ""
        label = self._label(plain)
        names = [label] if len(outputs) == 1 else [self._unique(f"{label}.{i}") for i in range(len(outputs))]
        only = "weight" if plain == "embedding" else "x"
        slots = [only] if len(numbers) == 1 else [f"x{k}" for k in range(len(numbers))]
        recorded = []
        for i, (name, where) in enumerate(zip(names, found, strict=True)):
            given, call = self._watching((args, kwargs))
            y = pytree.tree_leaves(func(*call[0], **call[1]))[i]
            passed = (p for p, x, _ in given if x.is_floating_point())
            filled = dict(zip(slots, passed, strict=True))
            recorded.append(self._record(name, moving(plain, slots, where), filled, {}, given, y, alone))
        return pytree.tree_unflatten(recorded, form)

    def _chosen(self, func: Any, plain: str, args: Any, kwargs: Any) -> Any:
        """What a function gave that chooses by size, with indices."""
        given, call = self._watching((args, kwargs))
        made = func(*call[0], **call[1])
        try:
            if not isinstance(made, tuple) or not made[0].is_floating_point():
                raise Refused(f"this call of {plain} is not judged")
            where = chosen(plain, said(func, plain, args, kwargs), made)
        except Refused as e:
            return self._other(made, plain, args, kwargs, str(e))
        alone = "" if self.inside else VARIES
        passed = {"x": given[0][0]}
        y = self._record(self._label(plain), moving(plain, ["x"], where), passed, {}, given, made[0], alone)
        return type(made)((y, made[1]))

    def _other(self, y: Any, plain: str, args: Any, kwargs: Any, why: str = "") -> Any:
        """What a function gave that is no op. If it takes numbers and gives numbers it is noted, with its place."""
        tensors = [t for t in pytree.tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        written = tensors[:1] if plain == "__setitem__" else y
        made = [t for t in pytree.tree_leaves(written) if isinstance(t, torch.Tensor) and t.is_floating_point()]
        if not made or not any(t.is_floating_point() or t.is_complex() for t in tensors) or plain in BLANK:
            return y
        sentence = why.partition(": ")[2] or f"there is no op for {plain}"
        self.seen.others.setdefault(f"{'.'.join(filter(None, (self.path[-1], plain)))} ({source()})", sentence)
        return y

    def _cast(self, func: Any, plain: str, args: Any, kwargs: Any) -> Any:
        """The same numbers in the same or in another format. It is judged against NumPy's rounding, both ways."""
        y, x = func(*args, **kwargs), args[0]
        if not isinstance(y, torch.Tensor) or not y.is_floating_point() or y.shape != x.shape:
            return self._other(y, plain, args, kwargs)
        if y.dtype == x.dtype:
            return self._same(y, x)
        given, call = self._watching((args, kwargs))
        y = func(*call[0], **call[1])
        name = self._label("cast")
        known, before, after = self.value(x, name, "x"), to_numpy(x).copy(), to_numpy(y).copy()
        with np.errstate(all="ignore"):
            self.seen.ran.append(
                Ran(name, CAST, [(known, before.astype(after.dtype))], {}, after, "it casts", kept=[[]])
            )
        if y.requires_grad:
            back = Ran(name, CAST, [(known, before)], {}, before, "it casts", kept=[given[0][2]], back=True)
            self.seen.ran.append(back)

            def arrived(g: torch.Tensor) -> None:
                with np.errstate(all="ignore"):
                    back.cotangent = to_numpy(g).astype(before.dtype)

            y = watched(y, arrived, True)
        self.name(y, name)
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
        elif id(x) in self.varying and not self.inside:
            self.made.add(name)
        self.seen.constants[name] = to_numpy(x).copy()
        return name

    def _label(self, op: str) -> str:
        """The name of a node: that of its layer, if the layer is one of PyTorch's, or with the op behind it."""
        path = self.path[-1]
        leaf = path and (self.kinds.get(path) in LAYERS or self.kinds.get(path) is torch.nn.Embedding)
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
        alone: str = "",
    ) -> torch.Tensor:
        """Note a call, and watch the cotangent of its output. `alone` says why it is no node of a network."""
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
            self.seen.others.setdefault(f"{name} ({source()})", str(e))
            return y
        if fixed := [v[0] for v in inputs if v is not None and v[0] in self.made]:
            alone = f"{fixed[0]} depends on the numbers of the run"
        ran = Ran(name, op, inputs, params, to_numpy(y).copy(), alone, kept=kept_of)
        given_slots = [v is not None for v in inputs]
        if not y.requires_grad and not self.inside and any(x.requires_grad for _, x, _ in given):
            ran.alone = "no gradient flows through it"
        elif sorted(given_slots, reverse=True) != given_slots:
            absent, names = given_slots.index(False), [*op.inputs]
            present = absent + given_slots[absent:].index(True)
            ran.alone = f"{names[present]} is given and {names[absent]} is absent"
        self.seen.ran.append(ran)
        if y.requires_grad:

            def arrived(g: torch.Tensor) -> None:
                ran.cotangent = to_numpy(g).copy()

            y = watched(y, arrived, True)
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
                p = watched(x, keeping(kept), False)
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
            self.seen.others[f"{name} ({source()})"] = "a function with several outputs"
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
            self.seen.others[f"{name} ({source()})"] = str(e).removeprefix("Network.from_torch: ")
            return y
        constants = {p: to_torch(np.array(net.weights["module"][p])) for p in net.parameters}
        slots = {**constants, **{n: p for n, (p, _, _) in zip(names, given, strict=True)}}
        return self._record(name, net.differentiated(net.inputs), slots, {}, given, y, OWN)
