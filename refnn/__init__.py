"""refnn: is my gradient right? Certified values, derived tolerances, named verdicts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from refnn import _moved
from refnn.checking.check import assert_conforms, check
from refnn.checking.grade import grade
from refnn.checking.model import check_model
from refnn.checking.one_tensor import assert_close, explain, tolerance
from refnn.checking.runs import compare_runs, run_model
from refnn.implementations import frameworks
from refnn.judging.call import skip
from refnn.judging.case import Case
from refnn.judging.cases import cases
from refnn.networks.network import Network, Node
from refnn.op import Drawn, Input, Op, Special, Sum, Variant
from refnn.ops import OPS, find, meant
from refnn.ops import OPS as ops
from refnn.oracle.allowance import allowance
from refnn.oracle.forward_mode import hvp, jvp
from refnn.oracle.truth import truth
from refnn.report import Finding, Report


def vjp(op: str | Op, *inputs: Any, **params: Any) -> tuple[Any, Callable[[Any], tuple[Any, ...]]]:
    """The output of `op`, and its pullback. The forward runs once, the pullback as often as it is called.

    >>> y, pull = refnn.vjp("softmax", np.array([0.0, 0.0]))
    >>> y, pull(np.array([1.0, 0.0]))
    (array([0.5, 0.5]), (array([ 0.25, -0.25]),))
    """
    return find(op).pullback(*inputs, **params)


def case(id: str, op: Op | None = None) -> Case:
    """The case with that id, of a check or of the fixtures.

        >>> c = refnn.case("relu/float32/few/x=7/zeros/0")
        >>> c.op, c.inputs, c.cotangent.shape
        (refnn.relu(x), (array([ 0.3, -0.7,  0.3, -0.7, -0.7, -0.7, -0.7], dtype=float32),), (7,))

    `op` is the record of an op that is not in the catalogue. LookupError says that there is no such case.
    """
    from refnn.suite.plan import case as find_case  # here, because only few need the fixtures

    return find_case(id, op)


def _from_torch(module: Any, inputs: Any = None, *, name: str = "network") -> Network:
    """The network of a torch.nn.Module. Its parameters become the weights "module".

    With `inputs`, a tuple of example tensors, the module runs on them once, and each function that its forward calls
    becomes a node, whatever way the forward takes. Buffers and constants become weights, too. Without them torch.fx
    follows the forward: such a network has the names of the layers, and takes inputs of any number of rows. Dropout in
    evaluation is left out. TypeError says which parts of the module have no op.
    """
    if inputs is not None:
        from refnn.implementations.torch_run import network as of_run

        return of_run(module, inputs, name=name)
    from refnn.implementations.torch_modules import network  # here, because it loads PyTorch

    return network(module, name=name)


Network.from_torch = staticmethod(_from_torch)
_moved.install()


def __getattr__(name: str) -> Op:
    """refnn.softmax, refnn.linear, ...: the ops of the catalogue."""
    if name in OPS:
        return OPS[name]
    raise AttributeError(f"module 'refnn' has no attribute {name!r}" + ("" if name.startswith("_") else meant(name)))


def __dir__() -> list[str]:
    return sorted({*globals(), *OPS})


__version__ = "0.1.0"
__all__ = [
    "Drawn",
    "Finding",
    "Input",
    "Network",
    "Node",
    "Op",
    "Report",
    "Special",
    "Sum",
    "Variant",
    "allowance",
    "assert_close",
    "assert_conforms",
    "case",
    "cases",
    "check",
    "check_model",
    "compare_runs",
    "explain",
    "frameworks",
    "grade",
    "hvp",
    "jvp",
    "ops",
    "run_model",
    "skip",
    "tolerance",
    "truth",
    "vjp",
    *OPS,
]
