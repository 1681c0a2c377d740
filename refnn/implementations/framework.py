"""What refnn must know of a framework, as one record, and how a check runs its functions.

A package brings a framework by an entry point of the group `refnn.frameworks`, which names a `Framework`:

    [project.entry-points."refnn.frameworks"]
    abacus = "abacus_refnn:ABACUS"

Then `refnn.check(op, f, framework="abacus")`, `refnn check OP --impl abacus`, `refnn verify abacus` and
`refnn report --framework abacus` run it. `refnn.implementations.conformance.conformance` checks such a record.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from refnn.judging.call import passed, with_gradient
from refnn.judging.case import Case
from refnn.op import Op

Function = Callable[..., Any]  # of the framework's own arrays
Pair = tuple[Callable[..., Any], Callable[..., Any] | None]


def _called(f: Function, arrays: Sequence[Any]) -> Any:
    return f(*arrays)


def _takes_all(f: Function, case: Case) -> str | None:
    return None


@dataclass(frozen=True)
class Framework:
    """A framework: its arrays, its functions and its gradients.

    `ops` has its function for each op that it offers, which takes its own arrays, then the op's parameters by name.
    A parameter that has another name there stands in `spelling`. For one that is None the function is passed what
    `absent` has, and nothing where that has nothing. A function lacks what its signature does not name (see
    `refnn.check`), and what `unsupported(f, case)` gives a reason for.

    `array` and `numpy` turn a NumPy array into one of the framework and back. `call(f, arrays)` gives the output.
    `vjp(f, arrays, places, g)` gives the gradients of sum(g * f(*arrays)) by the arrays at `places`. Without it the
    forward alone is checked. Calls with the same parameters pass the same `f`, so it can be the key of a cache of
    compiled functions.

    `model` gives the model of rounding of a dtype, and `dtypes` those that the framework has. `conventions` says what
    it chooses where mathematics leaves a choice. `homes` are the modules in which a reader looks for its functions.

    PyTorch alone has the rest so far: `second(op, f)` gives forward mode and the gradients of gradients, `module(net)`
    the module of a network, and `trace(net, module, case)` what its layers computed.
    """

    name: str
    version: str
    ops: Mapping[str, Function]
    array: Callable[[np.ndarray], Any]
    numpy: Callable[[Any], np.ndarray]
    vjp: Callable[[Function, Sequence[Any], tuple[int, ...], Any], Sequence[Any]] | None = None
    call: Callable[[Function, Sequence[Any]], Any] = _called
    model: Callable[[str], str] = str
    dtypes: tuple[str, ...] = ("float32", "float64")
    spelling: Mapping[str, str] = field(default_factory=dict)
    absent: Mapping[str, Any] = field(default_factory=dict)
    conventions: Mapping[str, str] = field(default_factory=dict)
    unsupported: Callable[[Function, Case], str | None] = _takes_all
    homes: tuple[str, ...] = ()
    second: Callable[[Op, Function], tuple[Any, Any]] | None = field(default=None, repr=False)
    module: Callable[[Any], Any] | None = field(default=None, repr=False)
    trace: Callable[[Any, Any, Case], Any] | None = field(default=None, repr=False)

    def functions(self, op: Op, f: Function) -> Pair:
        """forward(*inputs, **params) and vjp(g, *inputs, **params) of one of its functions, of NumPy arrays."""
        if not callable(f):
            raise TypeError(
                f"check({op.name!r}, {f!r}, framework={self.name!r}) expected a function of {self.name} arrays"
            )
        made: dict[Any, Function] = {}

        def bound(inputs: tuple[Any, ...], params: Mapping[str, Any]) -> Function:
            key = tuple(x is None for x in inputs), tuple((k, _hashable(v)) for k, v in params.items())
            if key not in made:
                made[key] = self.bound(op, f, inputs, params)
            return made[key]

        def forward(*inputs: Any, **params: Any) -> np.ndarray:
            return self.numpy(self.call(bound(inputs, params), [self.array(x) for x in inputs if x is not None]))

        def vjp(g: np.ndarray, *inputs: Any, **params: Any) -> tuple[np.ndarray | None, ...]:
            assert self.vjp is not None
            wanted = with_gradient(op, inputs)
            present = [(x, want) for x, want in zip(inputs, wanted, strict=True) if x is not None]
            places = tuple(i for i, (_, want) in enumerate(present) if want)
            grads = iter(self.vjp(bound(inputs, params), [self.array(x) for x, _ in present], places, self.array(g)))
            return tuple(self.numpy(next(grads)) if want else None for want in wanted)

        return forward, None if self.vjp is None else vjp

    def bound(self, op: Op, f: Function, inputs: Sequence[Any], params: Mapping[str, Any]) -> Function:
        """The function of the inputs that are there alone: with these parameters, and called with what its signature
        takes (see `refnn.judging.call.passed`)."""
        there = [x is not None for x in inputs]

        def of_present(*present: Any) -> Any:
            left = iter(present)
            given = [next(left) if is_there else None for is_there in there]
            arrays, named = passed(f, op, given, params, self.spelling)
            return f(*arrays, **self.arguments(named))

        of_present.__name__ = self.spelled(f)
        return of_present

    def lacks(self, f: Function, case: Case) -> str | None:
        """Why a function does not support a case, which is known before it is called; None if it may."""
        dtype = case.cotangent.dtype.name
        return self.unsupported(f, case) if dtype in self.dtypes else f"dtype {dtype}"

    def arguments(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """refnn's parameters under the framework's names: its arrays for arrays, and for None what `absent` has, or its
        own default."""
        found = {k: self.absent.get(k) if v is None else v for k, v in params.items()}
        given = {self.spelling.get(k, k): v for k, v in found.items() if v is not None or k in self.absent}
        return {k: self.array(v) if isinstance(v, np.ndarray) else v for k, v in given.items()}

    def spelled(self, f: Any) -> str:
        """The name of the function in a line of Python."""
        module, name = self._home(f)
        return f"{module}.{name}" if module else name

    def imports(self, f: Any) -> str:
        """The import statement of a line of Python that uses the function."""
        module, name = self._home(f)
        return f"import refnn, {module or name.rpartition('.adapter_for(')[0]}".rstrip(", ")

    def _home(self, f: Any) -> tuple[str, str]:
        """The module in which a function is found, or an empty text, and its name there."""
        name = getattr(f, "__name__", type(f).__name__)
        own = getattr(f, "__module__", None) or ""
        for module in (*self.homes, *([] if own == "__main__" else [own])):
            if getattr(sys.modules.get(module), name, None) is f:
                return module, name
        for op, function in self.ops.items():
            if function is f:
                return "", f"refnn.implementations.adapter_for({self.name!r}).ops[{op!r}]"
        return "", name


def _hashable(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    return repr(value)
