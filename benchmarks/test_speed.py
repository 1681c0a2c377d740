"""How long things take, beside what does the same: for pytest-benchmark, which no test run collects.

`python benchmarks/renew.py` runs this and writes the table; one comparison alone, in the shell:
`python -m pytest benchmarks -o addopts= -k softmax`. Only ratios within one run mean anything. Every group has one
benchmark for each candidate; its name is what the table shows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import refnn
from refnn.implementations.torch import arguments
from refnn.judging.cases import cases, user_cases
from refnn.models import model
from refnn.oracle.allowance import worst_case
from refnn.oracle.truth import PRECISIONS, evaluate
from refnn.variants import large
from refnn.witnesses.torch import FUNCTIONS

Shapes = tuple[tuple[int, ...], ...]
THREADS = 1
ONNX_OPSET = 20

# Op, shapes of the inputs, parameters; ONNX's operator with its attributes, where it has one.
CASES: Sequence[tuple[str, Shapes, dict[str, Any], tuple[str, dict[str, Any]] | None]] = (
    ("linear", ((256, 1024), (1024, 1024), (1024,)), {}, ("Gemm", {"transB": 1})),
    ("conv2d", ((8, 64, 32, 32), (64, 64, 3, 3), (64,)), {"padding": 1}, ("Conv", {"pads": [1, 1, 1, 1]})),
    ("conv2d", ((16, 3, 64, 64), (32, 3, 3, 3), (32,)), {"padding": 1}, ("Conv", {"pads": [1, 1, 1, 1]})),
    ("max_pool2d", ((8, 64, 64, 64),), {"kernel_size": 2}, ("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2]})),
    ("softmax", ((512, 4096),), {"axis": -1}, ("Softmax", {"axis": -1})),
    ("cross_entropy", ((512, 4096), (512,)), {}, ("SoftmaxCrossEntropyLoss", {"reduction": "mean"})),
    ("gelu", ((1 << 20,),), {}, ("Gelu", {})),
    ("tanh", ((1 << 20,),), {}, ("Tanh", {})),
    ("sigmoid", ((1 << 20,),), {}, ("Sigmoid", {})),
)
GROWN: Mapping[str, Callable[[int], Shapes]] = {
    "conv2d": lambda n: ((8 * n, 4, 12, 11), (5, 4, 3, 3), (5,)),
    "softmax": lambda n: ((8 * n, 512),),
    "cross_entropy": lambda n: ((8 * n, 512), (8 * n,)),
    "gelu": lambda n: ((4096 * n,),),
}
SIZES = tuple(1 << k for k in range(7))
CHECKED = ((4, 6, 12, 12), (16, 6, 5, 5), (16,))  # the convolution that gradcheck is compared on


def label(op: str, shapes: Shapes) -> str:
    return f"{op} {', '.join('x'.join(map(str, s)) for s in shapes)}"


IDS = [label(op, shapes) for op, shapes, *_ in CASES]


@pytest.fixture(autouse=True)
def _threads() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    yield
    torch.set_num_threads(before)


def drawn(op: str, shapes: Shapes) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    arrays: list[np.ndarray] = [rng.normal(size=shape) for shape in shapes]
    if op == "cross_entropy":
        arrays[1] = rng.integers(0, shapes[0][1], shapes[1])
    return arrays


# --- forward, and forward with vjp -----------------------------------------------------------------------------------


def of_refnn(op: str, arrays: list[np.ndarray], params: dict[str, Any]) -> Callable[[], Any]:
    return lambda: refnn.ops[op](*arrays, **params)


def of_torch(op: str, arrays: list[np.ndarray], params: dict[str, Any]) -> Callable[[], Any]:
    tensors, settings = [torch.from_numpy(a) for a in arrays], arguments({**refnn.ops[op].defaults, **params})
    return lambda: FUNCTIONS[op](*tensors, **settings)


def of_onnx(arrays: list[np.ndarray], operator: tuple[str, dict[str, Any]]) -> Callable[[], Any]:
    onnx = pytest.importorskip("onnx", reason="onnx is not installed: pip install 'refnn[benchmark]'")
    from onnx.reference import ReferenceEvaluator

    kind, attributes = operator
    names = [f"x{i}" for i in range(len(arrays))]
    node = onnx.helper.make_node(kind, names, ["y"], **attributes)
    graph = onnx.helper.make_graph(
        [node],
        kind,
        [
            onnx.helper.make_tensor_value_info(n, onnx.helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for n, a in zip(names, arrays, strict=True)
        ],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.DOUBLE, None)],
    )
    evaluator = ReferenceEvaluator(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", ONNX_OPSET)])
    )
    feed = dict(zip(names, arrays, strict=True))
    return lambda: evaluator.run(None, feed)[0]


@pytest.mark.parametrize("candidate", ["refnn", "PyTorch", "onnx.reference"])
@pytest.mark.parametrize(("op", "shapes", "params", "operator"), CASES, ids=IDS)
def test_forward(
    benchmark: Any, request: Any, candidate: str, op: str, shapes: Shapes, params: Any, operator: Any
) -> None:
    arrays = drawn(op, shapes)
    wanted = of_refnn(op, arrays, params)()
    run = {
        "refnn": lambda: of_refnn(op, arrays, params),
        "PyTorch": lambda: of_torch(op, arrays, params),
        "onnx.reference": lambda: of_onnx(arrays, operator),
    }[candidate]()
    assert np.shape(run()) == np.shape(wanted)
    benchmark.group = f"forward | {label(op, shapes)}"
    benchmark.name = candidate
    benchmark.pedantic(run, rounds=2 if candidate == "onnx.reference" else 5, warmup_rounds=1)


@pytest.mark.parametrize("candidate", ["refnn", "PyTorch"])
@pytest.mark.parametrize(("op", "shapes", "params", "operator"), CASES, ids=IDS)
def test_forward_and_vjp(benchmark: Any, candidate: str, op: str, shapes: Shapes, params: Any, operator: Any) -> None:
    arrays = drawn(op, shapes)
    g = np.asarray(np.random.default_rng(1).normal(size=np.shape(refnn.ops[op](*arrays, **params))))
    cotangent, settings = torch.from_numpy(g), arguments({**refnn.ops[op].defaults, **params})
    tensors = [torch.from_numpy(a) for a in arrays]
    floats = [t.requires_grad_() for t in tensors if t.is_floating_point()]

    def ours() -> Any:
        y, pull = refnn.vjp(op, *arrays, **params)
        return y, pull(g)

    def theirs() -> Any:
        y = FUNCTIONS[op](*tensors, **settings)
        return y, torch.autograd.grad(y, floats, cotangent)

    benchmark.group = f"forward and vjp | {label(op, shapes)}"
    benchmark.name = candidate
    benchmark.pedantic(ours if candidate == "refnn" else theirs, rounds=5, warmup_rounds=1)


# --- checks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("candidate", ["refnn.check", "gradcheck slow", "gradcheck fast"])
def test_check(benchmark: Any, candidate: str) -> None:
    """All three gradients of one convolution in float64, PyTorch's own."""
    arrays = drawn("conv2d", CHECKED)
    tensors = [torch.from_numpy(a).requires_grad_() for a in arrays]

    def check() -> None:
        report = refnn.check("conv2d", F.conv2d, framework="torch", dtype="float64", inputs=tuple(arrays))
        assert report.ok, str(report)

    benchmark.group, benchmark.name = "check | conv2d 4x6x12x12, 16x6x5x5, float64", candidate
    if candidate == "refnn.check":
        benchmark.pedantic(check, rounds=10, warmup_rounds=1)
    elif candidate == "gradcheck fast":
        benchmark.pedantic(
            lambda: torch.autograd.gradcheck(F.conv2d, tensors, fast_mode=True), rounds=10, warmup_rounds=1
        )
    else:
        benchmark.pedantic(lambda: torch.autograd.gradcheck(F.conv2d, tensors), rounds=1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("op", GROWN)
def test_growth(benchmark: Any, op: str, size: int, dtype: str) -> None:
    """A check of one case; the number of its elements is in the record."""
    arrays = tuple(a.astype(dtype) if a.dtype.kind == "f" else a for a in drawn(op, GROWN[op](size)))
    (case,) = user_cases(refnn.ops[op], dtype, arrays)

    def check() -> None:
        report = refnn.check(op, forward=refnn.ops[op], vjp=refnn.ops[op].vjp, inputs=arrays)
        assert report.ok, str(report)

    benchmark.group, benchmark.name = f"growth | {op}, {dtype}", f"{size}x"
    benchmark.extra_info["elements"] = case.elements
    benchmark.pedantic(check, rounds=3, warmup_rounds=1)


# --- arithmetics -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("candidate", ["float64 balls", "Arb"])
@pytest.mark.parametrize("op", ["linear", "conv2d", "softmax", "gelu", "tanh"])
def test_balls(benchmark: Any, op: str, candidate: str) -> None:
    """Output and gradients of one case, as balls of float64 and as Arb's at the precision that a check begins with."""
    case = next(cases(large(refnn.ops[op], 4096), "float32", families=["normal"]))
    rules = model("float32")

    def in_balls() -> Any:
        return worst_case(case.call(), rules)

    def in_arb() -> Any:
        return evaluate(case.call(), PRECISIONS[0])

    benchmark.group, benchmark.name = f"arithmetic | {op}", candidate
    benchmark.pedantic(in_balls if candidate == "float64 balls" else in_arb, rounds=3, warmup_rounds=1)
