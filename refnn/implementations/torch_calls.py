"""What a call of one of PyTorch's functions says: its arguments by name, and what of them an op takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.fx.operator_schemas import get_signature_for_torch_op

from refnn.implementations.torch_modules import Refused, settings
from refnn.ops import OPS


def said(func: Any, plain: str, args: Any, kwargs: Any) -> dict[str, Any]:
    """What a call says, by the names of the arguments."""
    own = _signature(func)
    if own is not None and own.parameters.keys() != {"args", "kwargs"}:
        found = own.bind(*args, **kwargs)
        found.apply_defaults()
        return dict(found.arguments)
    if kwargs.get("return_indices") is False:  # of pools, which PyTorch's own functions name apart
        kwargs = {k: v for k, v in kwargs.items() if k != "return_indices"}
    target = getattr(torch, plain.strip("_"), None) or getattr(torch.nn.functional, plain, func)
    for signature in get_signature_for_torch_op(target) or ():
        try:
            found = signature.bind(*args, **kwargs)
        except TypeError:
            continue
        if all(_fits(v, signature.parameters[n].annotation) for n, v in found.arguments.items()):
            found.apply_defaults()
            return dict(found.arguments)
    raise Refused(f"the arguments of {plain} have no names")


def _signature(func: Any) -> inspect.Signature | None:
    """The signature of a function that is written in Python, and is not there to wrap one of C++."""
    try:
        return inspect.signature(func) if inspect.isfunction(func) else None
    except ValueError:
        return None


def drops(named: Mapping[str, Any]) -> bool:
    """Whether a call of dropout drops anything."""
    return bool(named.get("training", True) and named.get("p", 0.5))


def drawn(run: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What dropout makes of a tensor, and the mask that it drew: the same draw keeps some of as many ones."""
    before = torch.get_rng_state()
    y = run(x)
    after = torch.get_rng_state()
    torch.set_rng_state(before)
    with torch.no_grad():
        mask = run(torch.ones_like(x)) != 0
    torch.set_rng_state(after)
    return y, mask.to(x.dtype)


def _fits(value: Any, annotation: Any) -> bool:
    """Whether a value is what an overload of a function takes: overloads differ in tensors, numbers, texts, and whether
    a number is a truth value."""
    if annotation is bool:
        return isinstance(value, bool)
    if isinstance(value, (torch.Tensor, str)):
        kind = torch.Tensor if isinstance(value, torch.Tensor) else str
        return annotation is kind or kind in getattr(annotation, "__args__", ())
    return annotation not in (torch.Tensor, str)


def bound(op: str, named: Mapping[str, Any], swapped: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """What goes into each slot of an op, and its parameters."""
    if named.get("dtype") in {v.dtype for v in named.values() if isinstance(v, torch.Tensor)}:
        named = {**named, "dtype": None}  # it says what it is
    slots: dict[str, Any] = {}
    rest = list(OPS[op].inputs)
    for key, value in named.items():
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if isinstance(value, torch.Tensor) or (number and key in rest):
            slot = key if key in rest else next(iter(rest), None)
            if slot is None:
                raise Refused(f"{op} has no input for {key}")
            rest.remove(slot)
            slots[slot] = value
    absent = [n for n, i in OPS[op].inputs.items() if n in rest and not i.optional]
    if absent and op != "dropout":
        raise Refused(f"{op} draws its {absent[0]} itself, and is not judged")
    params = settings(op, {k: v for k, v in named.items() if k not in slots}, f"the function {op}")
    if swapped:
        first, second = OPS[op].inputs
        slots = {first: slots[second], second: slots[first]}
    return slots, params
