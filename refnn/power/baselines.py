"""The procedures that are in use today, as checkers of one implementation of an op.

Each gets what its authors feed it: their distribution of inputs, their cotangent, their tolerances. Beyond that every
one of them is given the shapes and parameters that refnn checks an op with (its variants), except empty arrays and
targets that are all ignored: better ones than most tests have. None is given refnn's values.

- `gradcheck`: torch.autograd.gradcheck with its defaults (float64, normal inputs), in its slow mode on shortened
  shapes, because its cost grows with the square of the size, and in its fast mode.
- `assert_close`: output and gradients against PyTorch's, normal inputs and cotangent, torch.testing's defaults.
- `tinygrad`: `helper_test_op` of tinygrad's tests: against PyTorch, inputs uniform in (-2, 2), a cotangent of ones.
- `kernelbench`: against PyTorch, inputs uniform in (0, 1), five seeds, the forward alone, NaN never equal.
- `liger`: Liger-Kernel's tests: against PyTorch, normal inputs and cotangent, tolerances by op.

PyTorch is the reference of the last four; where it is itself at odds with the definition they object to what is right.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from refnn.adapters import torch as adapter
from refnn.inputs import Case, cases, smaller
from refnn.judge import differentiable
from refnn.op import Op
from refnn.ops import OPS
from refnn.power.mutant import Array, Forward, Vjp
from refnn.witnesses.torch import FUNCTIONS

Draw = Callable[[np.random.Generator, tuple[int, ...]], Array]


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return np.asarray(rng.normal(size=shape))


def uniform(low: float, high: float) -> Draw:
    return lambda rng, shape: np.asarray(rng.uniform(low, high, shape))


def ones(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return np.ones(shape)


def given(op: Op, dtype: str, draw: Draw, cotangent: Draw, seed: int = 0) -> Iterator[Case]:
    """The variants of an op that are not empty, with inputs and cotangents from these distributions."""
    for case in cases(op, dtype, families=["normal"]):
        if not case.cotangent.size or any(x is not None and (not x.size or _ignored(x, case)) for x in case.inputs):
            continue
        rng = np.random.default_rng([seed, zlib.crc32(case.id.encode())])
        inputs = tuple(
            draw(rng, x.shape).astype(x.dtype) if x is not None and declared.kind == "real" else x
            for x, declared in zip(case.inputs, op.inputs.values(), strict=True)
        )
        g = cotangent(rng, case.cotangent.shape).astype(case.cotangent.dtype)
        yield replace(case, id=f"{case.id}/{seed}", inputs=inputs, cotangent=g)


def _ignored(x: Array, case: Case) -> bool:
    """Whether these are targets that are all ignored."""
    return x.dtype.kind in "iu" and bool((x == case.params["ignore_index"]).all())


@dataclass(frozen=True)
class Baseline:
    """A checker that goes through cases one by one: which ones, and whether an implementation passes one."""

    given: Callable[[Op, str], Iterator[Case]]
    passes: Callable[[Case, Forward, Vjp], bool]

    def objections(self, op: str, forward: Forward, vjp: Vjp, dtype: str) -> Iterator[str]:
        """The cases that it objects to, as they are found."""
        for case in self.given(OPS[op], dtype):
            with np.errstate(all="ignore"):
                if not self.passes(case, forward, vjp):
                    yield case.id

    def __call__(self, op: str, forward: Forward, vjp: Vjp, dtype: str) -> bool:
        return not any(self.objections(op, forward, vjp, dtype))


# --- against finite differences --------------------------------------------------------------------------------------


def as_function(case: Case, forward: Forward, vjp: Vjp) -> tuple[Callable[..., torch.Tensor], list[torch.Tensor]]:
    """The implementation as a function of the tensors it has gradients for, with its vjp as its backward; and these
    tensors."""
    free = [i for i, wanted in enumerate(differentiable(case)) if wanted]

    def arrays(tensors: tuple[torch.Tensor, ...]) -> list[Array | None]:
        whole = list(case.inputs)
        for i, t in zip(free, tensors, strict=True):
            whole[i] = t.detach().numpy()
        return whole

    class Implementation(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *tensors: torch.Tensor) -> torch.Tensor:
            ctx.save_for_backward(*tensors)
            return torch.from_numpy(np.array(forward(*arrays(tensors), **case.params)))

        @staticmethod
        def backward(ctx: Any, *g: torch.Tensor) -> Any:
            grads = vjp(g[0].numpy(), *arrays(ctx.saved_tensors), **case.params)
            return tuple(torch.from_numpy(np.array(grads[i])) for i in free)

    tensors = [adapter.to_torch(np.array(case.inputs[i])).requires_grad_() for i in free]
    return Implementation.apply, tensors


def gradcheck(case: Case, forward: Forward, vjp: Vjp, *, fast: bool) -> bool:
    function, tensors = as_function(case, forward, vjp)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return torch.autograd.gradcheck(function, tensors, fast_mode=fast, raise_exception=False)


# --- against PyTorch -------------------------------------------------------------------------------------------------


def pairs(case: Case, forward: Forward, vjp: Vjp | None) -> Iterator[tuple[Array, Array, bool]]:
    """(got, PyTorch's, whether it is a gradient), the output first."""
    reference, reference_vjp = adapter.functions(case.op, FUNCTIONS[case.op.name])
    yield np.asarray(forward(*case.inputs, **case.params)), reference(*case.inputs, **case.params), False
    if vjp is None:
        return
    got = vjp(case.cotangent, *case.inputs, **case.params)
    want = reference_vjp(case.cotangent, *case.inputs, **case.params)
    for a, b, wanted in zip(got, want, differentiable(case), strict=True):
        if wanted:
            yield np.asarray(a), np.asarray(b), True


def inside(got: Array, want: Array, absolute: float, relative: float, *, nan_equal: bool) -> bool:
    """Whether two arrays agree under a typed tolerance, as numpy.testing and torch have it."""
    if got.shape != want.shape or got.dtype != want.dtype:
        return False
    same = (got == want) | (nan_equal & np.isnan(got) & np.isnan(want))
    with np.errstate(invalid="ignore"):
        near = np.abs(got - want) <= absolute + relative * np.abs(want)
    return bool((same | (near & np.isfinite(want))).all())


def assert_close(case: Case, forward: Forward, vjp: Vjp) -> bool:
    try:
        for got, want, _ in pairs(case, forward, vjp):
            torch.testing.assert_close(adapter.to_torch(np.array(got)), adapter.to_torch(np.array(want)))
    except AssertionError:
        return False
    return True


def tinygrad(case: Case, forward: Forward, vjp: Vjp) -> bool:
    tolerances = {False: (1e-6, 1e-3), True: (1e-4, 1e-3)}  # of values, of gradients: absolute and relative
    compared = pairs(case, forward, vjp)
    return all(inside(got, want, *tolerances[gradient], nan_equal=True) for got, want, gradient in compared)


def kernelbench(case: Case, forward: Forward, vjp: Vjp) -> bool:
    return all(inside(got, want, 1e-4, 1e-4, nan_equal=False) for got, want, _ in pairs(case, forward, None))


def liger(case: Case, forward: Forward, vjp: Vjp) -> bool:
    absolute, relative = (1e-8, 1e-6) if case.op.name in ("cross_entropy", "nll_loss") else (1e-4, 1e-4)
    return all(inside(got, want, absolute, relative, nan_equal=True) for got, want, _ in pairs(case, forward, vjp))


def _normally(op: Op, dtype: str) -> Iterator[Case]:
    return given(op, dtype, normal, normal)


def _five_times(op: Op, dtype: str) -> Iterator[Case]:
    return chain.from_iterable(given(op, dtype, uniform(0, 1), ones, seed) for seed in range(5))


BASELINES: Mapping[str, Baseline] = MappingProxyType(
    {
        "gradcheck slow": Baseline(lambda op, _: _normally(smaller(op), "float64"), partial(gradcheck, fast=False)),
        "gradcheck fast": Baseline(lambda op, _: _normally(op, "float64"), partial(gradcheck, fast=True)),
        "assert_close": Baseline(_normally, assert_close),
        "tinygrad": Baseline(lambda op, dtype: given(op, dtype, uniform(-2, 2), ones), tinygrad),
        "KernelBench": Baseline(_five_times, kernelbench),
        "Liger": Baseline(_normally, liger),
    }
)
