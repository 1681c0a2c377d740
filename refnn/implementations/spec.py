"""What an implementation is called, on the command line and in pytest.

    torch             PyTorch's own functions; so for each name of `refnn.frameworks()`
    refnn             refnn's own ops and networks, in plain floats
    cmd:PROGRAM       a program that speaks JSON Lines
    lines:PROGRAM     a program that speaks text lines
    module:object     a mapping from the name of an op to a forward, or to a pair of a forward and a vjp

A forward that has a `vjp`, as refnn's own ops, is a pair. Of a network the two are f(params, *inputs) and
v(g, params, *inputs). For `refnn check`, which is of one op or network, the object may be its forward.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from refnn.implementations import known
from refnn.networks.network import Network, fixtures
from refnn.ops import OPS

Functions = tuple[Callable[..., Any], Callable[..., Any] | None]  # a forward, and its vjp if there is one


@dataclass(frozen=True)
class Spec:
    """What a text names: `kind` is framework, cmd, lines, mapping or function. `value` is the command of a program, the
    functions of a mapping by name, or the function."""

    text: str
    kind: str
    value: Any = None

    def functions(self, name: str) -> Functions:
        """Those of a mapping for an op or network. LookupError where it has none."""
        if name not in self.value:
            raise LookupError(f"the implementation {self.text!r} has no {name!r}")
        return self.value[name]


def parse(text: str, *, function: bool = False) -> Spec:
    """What the text names. A function alone is refused where it is not asked for. ValueError or LookupError says what
    is wrong, the same wherever it is given."""
    kind, colon, rest = text.partition(":")
    if text == "refnn":
        return Spec(text, "mapping", own())
    if not colon and text in known():
        return Spec(text, "framework")
    if kind in ("cmd", "lines") and colon:
        return Spec(text, kind, rest)
    if not kind or not rest:
        raise ValueError(
            f"the implementation {text!r} is not one of torch, refnn, module:object, cmd:PROGRAM, lines:PROGRAM, "
            f"nor another framework ({', '.join(n for n in known() if n != 'torch')})"
        )
    found = load(text)
    if isinstance(found, Mapping):
        return Spec(text, "mapping", _functions(text, found))
    if function and callable(found):
        return Spec(text, "function", found)
    raise ValueError(
        f"the implementation {text!r} is a {type(found).__name__}, expected a mapping from op names "
        "(refnn check takes a function, too)"
    )


def load(text: str, what: str = "the implementation") -> Any:
    """The object that `module:object` names; modules of the current folder are found. ValueError or LookupError says
    what is wrong with `what`."""
    module, _, path = text.partition(":")
    if not module or not path:
        raise ValueError(f"{what} is {text!r}, expected module:object")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module)
    except Exception as e:
        raise LookupError(f"{what} {text!r}: importing {module!r} raised {type(e).__name__}: {e}") from e
    for name in path.split("."):
        owner = getattr(found, "__name__", found)
        try:
            found = getattr(found, name)
        except AttributeError as e:
            raise LookupError(f"{what} {text!r}: {owner!r} has no {name!r}") from e
        except Exception as e:  # of a module that imports its parts when they are asked for
            raise LookupError(f"{what} {text!r}: {name!r} of {owner!r} raised {type(e).__name__}: {e}") from e
    return found


def load_function(text: str, what: str) -> Callable[..., Any]:
    """The function that `module:object` names."""
    if not callable(found := load(text, what)):
        raise ValueError(f"{what} {text!r} is a {type(found).__name__}, expected something that can be called")
    return found


def _functions(text: str, found: Mapping[str, Any]) -> dict[str, Functions]:
    """All that a mapping has, in pairs."""
    pairs: dict[str, Functions] = {}
    for name, value in found.items():
        if name not in OPS and name not in fixtures():
            raise LookupError(
                f"the implementation {text!r} has {name!r}, which is neither an op nor a network of refnn"
            )
        pair: Any = value if isinstance(value, (tuple, list)) else (value, getattr(value, "vjp", None))
        if len(pair) != 2 or not callable(pair[0]) or not (pair[1] is None or callable(pair[1])):
            raise ValueError(
                f"the implementation {text!r}: {name!r} is neither a forward nor a pair of a forward and a vjp"
            )
        pairs[name] = (pair[0], pair[1])
    return pairs


def own() -> dict[str, Functions]:
    """refnn's own implementation: its ops, and the networks of the fixtures, in plain floats."""
    return {**{name: (op, op.vjp) for name, op in OPS.items()}, **{n: _floats(Network.load(n)) for n in fixtures()}}


def _floats(net: Network) -> Functions:
    return (
        lambda params, *inputs: net.forward(params, *inputs).output,
        lambda g, params, *inputs: net.backward(net.forward(params, *inputs), g),
    )
