"""PyTorch's functions that are no op of the catalogue by name: what they write, what they are made of, their bodies."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cache, partial
from types import FunctionType
from typing import Any

import torch

from refnn.implementations.torch_modules import Refused
from refnn.op import Input, Op, Variant
from refnn.ops import OPS

# --- functions that write --------------------------------------------------------------------------------------------


def _set_item(x: torch.Tensor, key: Any, value: Any) -> torch.Tensor:
    y = x.clone()
    y[key] = value
    return y


def _copied(x: torch.Tensor, source: torch.Tensor, non_blocking: bool = False) -> torch.Tensor:
    return source.expand(x.shape).clone()


def _filled(x: torch.Tensor, value: Any = 0) -> torch.Tensor:
    return torch.full_like(x, value) if not isinstance(value, torch.Tensor) else value.expand(x.shape).clone()


OVERWRITES: Mapping[str, Callable[..., torch.Tensor]] = {"copy_": _copied, "fill_": _filled, "zero_": _filled}


def unwritten(plain: str, args: Any) -> tuple[Callable[..., Any], str, Any] | None:
    """A function that returns what the function of this name writes into its first argument, a name for it, and what it
    takes; None if that one does not write, or has no such twin."""
    if plain == "__setitem__":
        return _set_item, "setitem", args
    if plain in OVERWRITES:
        return partial(OVERWRITES[plain], args[0]), plain[:-1], args[1:]
    if not plain.endswith("_") or plain.endswith("__"):
        return None
    twin = getattr(torch.Tensor, plain[:-1], None)
    return (twin, plain[:-1], args) if callable(twin) else None


# --- functions that are an op in other words -------------------------------------------------------------------------

Call = tuple[Op, dict[str, Any], dict[str, Any]]  # an op, what goes into its slots, its parameters


def _power(x: torch.Tensor, exponent: Any) -> Call:
    if exponent in NAMED_POWERS:
        return OPS[NAMED_POWERS[exponent]], {"x": x}, {}
    if not isinstance(exponent, (int, float)) or int(exponent) != exponent or not 3 <= exponent <= 16:
        raise Refused(f"pow is judged with the exponents {', '.join(map(str, NAMED_POWERS))} and 3 to 16")
    return _powers(int(exponent)), {"x": x}, {}


NAMED_POWERS: Mapping[float, str] = {2: "square", 0.5: "sqrt", -0.5: "rsqrt", -1: "reciprocal"}


@cache
def _powers(n: int) -> Op:
    """x^n as a product, whose roundings cover those of a power function, too: from n = 3 on it has two at least."""

    def forward(ar: Any, x: Any) -> Any:
        return ar.product(*[x] * n)

    def vjp(ar: Any, g: Any, y: Any, x: Any) -> tuple[Any, ...]:
        return (ar.product(g, n, *[x] * (n - 1)),)

    return Op(
        name="pow",
        forward_definition=forward,
        vjp_definition=vjp,
        inputs={"x": Input()},
        validate=lambda inputs, params: None,
        variants=(Variant({"x": (5, 7)}),),
        rowwise=lambda ndim, params: ndim > 0,
    )


def _addmm(input: torch.Tensor, mat1: torch.Tensor, mat2: torch.Tensor, beta: float = 1, alpha: float = 1) -> Call:
    if beta != 1 or alpha != 1 or input.ndim != 1:
        raise Refused("addmm is judged with beta=1, alpha=1 and a bias of one axis")
    return ADDMM, {"input": input, "mat1": mat1, "mat2": mat2}, {}


def _addmm_forward(ar: Any, input: Any, mat1: Any, mat2: Any) -> Any:
    return OPS["linear"].forward_definition(ar, mat1, mat2.T, input)


def _addmm_vjp(ar: Any, g: Any, y: Any, input: Any, mat1: Any, mat2: Any) -> tuple[Any, ...]:
    by_x, by_weight, by_bias = OPS["linear"].vjp_definition(ar, g, y, mat1, mat2.T, input)
    return by_bias, by_x, by_weight.T


ADDMM = Op(
    name="addmm",
    forward_definition=_addmm_forward,
    vjp_definition=_addmm_vjp,
    inputs={"input": Input(), "mat1": Input(), "mat2": Input()},
    validate=lambda inputs, params: None,
    variants=(Variant({"input": (3,), "mat1": (5, 7), "mat2": (7, 3)}),),
)


def _adaptive_average(input: torch.Tensor, output_size: Any) -> Call:
    rank = input.ndim - 2 if not isinstance(output_size, (tuple, list)) else len(output_size)
    sizes = output_size if isinstance(output_size, (tuple, list)) else [output_size] * rank
    lengths = input.shape[input.ndim - rank :]
    out = [n if size is None else size for size, n in zip(sizes, lengths, strict=True)]
    if any(n % size for size, n in zip(out, lengths, strict=True)):
        raise Refused(f"adaptive_avg_pool from {tuple(lengths)} to {tuple(out)} has windows of several sizes")
    kernel = tuple(n // size for size, n in zip(out, lengths, strict=True))
    return OPS[f"avg_pool{rank}d"], {"x": input}, {"kernel_size": kernel if rank > 1 else kernel[0]}


COMPOSED: Mapping[str, Callable[..., Call]] = {  # of the arguments in their order
    "pow": _power,
    "addmm": _addmm,
    **{f"adaptive_avg_pool{n}d": _adaptive_average for n in (1, 2, 3)},
}

# --- functions that are written in Python ----------------------------------------------------------------------------


def opens(func: Any) -> bool:
    """Whether a function is one of torch.nn.functional that is written in Python, so that what it calls can be seen."""
    return inspect.isfunction(func) and func.__module__ == "torch.nn.functional"


@cache
def opened(func: FunctionType) -> Callable[..., Any]:
    """The body of such a function, which else would hand itself on to whoever watches."""
    silent = {n: _nothing_watches for n in func.__globals__ if n.startswith("has_torch_function")}
    body = FunctionType(
        func.__code__, {**func.__globals__, **silent}, func.__name__, func.__defaults__, func.__closure__
    )
    body.__kwdefaults__ = func.__kwdefaults__
    return body


def _nothing_watches(*_: Any) -> bool:
    return False
