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
- `torchtitan`: the gate of `kernel-numerics-verifier`, a skill for coding agents (pytorch/torchtitan PR #4348). Golden
  is PyTorch in float64 on the widened inputs, reference is PyTorch in the dtype; one normal draw, one normal cotangent.
  For each tensor, in the maximum norm: error of the target <= 2 x error of the reference + error of rounding golden
  once. Shape, dtype and places of NaN and infinities have to be the reference's. Where the reference is off by more
  than 10 % of the largest golden value the rule refuses a verdict, and a verdict that is refused is no objection here.
  Not modelled: what the text leaves to its reader, which is the analysis of conditioning after a refusal, the 1 to 2
  ulps of kernels that the reader calls simple, adversarial values and tile sizes.
- `sol_execbench`: the rule of NVIDIA's SOL-ExecBench (arXiv 2603.19173; `calibrate.py` and `correctness.py` of
  NVIDIA/SOL-ExecBench). |a - b| <= c + r |b| against PyTorch, r = 1e-2 in bfloat16, 1e-3 in float16, 1e-5 in float32;
  three normal draws, everything compared in float32, no NaN or infinity allowed. The share of elements that have to
  match is 1: the smaller shares are those of fp8 and fp4. c is 1.25 times the 99th percentile, over 200 probes, of what
  the reference itself needs beside r. There a probe compares a GPU with a CPU, or with float64; here is no GPU, and it
  is the CPU's PyTorch against its float64 results, rounded. The forward is one problem and the backward another, as
  there. Not modelled: what looks for cheating, and the tolerances of single problems.

PyTorch is the reference of all but gradcheck; where it is itself at odds with the definition they object to what is
right. The last two are about kernels of at most 32 bits and do not cover float64. They measure how far PyTorch happens
to be off, which a few hundred elements show less steadily than the tensors of millions that they are made for.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import chain
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from refnn.formats import FORMATS
from refnn.implementations import torch as adapter
from refnn.judging.call import differentiable
from refnn.judging.case import Case
from refnn.judging.cases import cases, smaller
from refnn.op import Op
from refnn.ops import OPS
from refnn.study.power.mutant import Array, Forward, Pair, Vjp
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
        yield drawn(case, draw, cotangent, seed)


def drawn(case: Case, draw: Draw, cotangent: Draw, seed: int) -> Case:
    """The case with real inputs and a cotangent that are drawn anew, by a generator that its id and the seed seed."""
    rng = np.random.default_rng([seed, zlib.crc32(case.id.encode())])
    inputs = tuple(
        draw(rng, x.shape).astype(x.dtype) if x is not None and declared.kind == "real" else x
        for x, declared in zip(case.inputs, case.op.inputs.values(), strict=True)
    )
    g = cotangent(rng, case.cotangent.shape).astype(case.cotangent.dtype)
    return replace(case, id=f"{case.id}/{seed}", inputs=inputs, cotangent=g)


def _ignored(x: Array, case: Case) -> bool:
    """Whether these are targets that are all ignored."""
    return x.dtype.kind in "biu" and bool((x == case.params["ignore_index"]).all())


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


def results(case: Case, forward: Forward, vjp: Vjp | None) -> Iterator[Array]:
    """The output of an implementation, then its gradients, if there is a vjp."""
    yield np.asarray(forward(*case.inputs, **case.params))
    if vjp is not None:
        grads = vjp(case.cotangent, *case.inputs, **case.params)
        yield from (np.asarray(v) for v, wanted in zip(grads, differentiable(case), strict=True) if wanted)


def pytorch(case: Case) -> Pair:
    """PyTorch's function for the op of a case, and its gradients."""
    return adapter.functions(case.op, FUNCTIONS[case.op.name])


def pairs(case: Case, forward: Forward, vjp: Vjp | None) -> Iterator[tuple[Array, Array, bool]]:
    """(got, PyTorch's, whether it is a gradient), the output first."""
    reference, reference_vjp = pytorch(case)
    compared = zip(
        results(case, forward, vjp), results(case, reference, reference_vjp if vjp is not None else None), strict=True
    )
    for i, (got, want) in enumerate(compared):
        yield got, want, i > 0


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


# --- against PyTorch, by how far PyTorch itself is off ---------------------------------------------------------------


def widened(case: Case) -> Case:
    """The case with all its floats in float64, parameters that are arrays included."""

    def wide(x: Any) -> Any:
        return x.astype(np.float64) if getattr(x, "dtype", None) is not None and x.dtype.name in FORMATS else x

    params = {k: wide(v) for k, v in case.params.items()}
    return replace(case, inputs=tuple(map(wide, case.inputs)), cotangent=wide(case.cotangent), params=params)


FACTOR = 2.0  # times the reference's error; torchtitan's "start with"
REFUSED = 0.1  # of the largest golden value: a reference that is further off judges nothing


def verified(target: Array, reference: Array, golden: Array) -> bool | None:
    """Whether a tensor passes torchtitan's gate; None where the rule refuses a verdict."""
    if target.shape != reference.shape or target.dtype != reference.dtype:
        return False
    wide_target, wide_reference = target.astype(np.float64), reference.astype(np.float64)
    finite = np.isfinite(wide_reference)
    if not np.array_equal(wide_target[~finite], wide_reference[~finite], equal_nan=True):
        return False
    if not np.isfinite(wide_target[finite]).all():
        return False
    judged = finite & np.isfinite(golden)
    exact = golden[judged]

    def furthest(x: Array) -> float:
        return float(np.abs(x[judged] - exact).max(initial=0.0))

    floor = furthest(golden.astype(target.dtype).astype(np.float64))
    off = furthest(wide_reference)
    if off > REFUSED * max(float(np.abs(exact).max(initial=0.0)), floor):
        return None
    return furthest(wide_target) <= FACTOR * off + floor


def torchtitan(case: Case, forward: Forward, vjp: Vjp) -> bool:
    wide = widened(case)
    three = zip(results(case, forward, vjp), results(case, *pytorch(case)), results(wide, *pytorch(wide)), strict=True)
    return all(verified(*tensors) is not False for tensors in three)


RELATIVE: Mapping[str, float] = MappingProxyType({"bfloat16": 1e-2, "float16": 1e-3, "float32": 1e-5})
MATCHED = 1.0  # the share of elements that have to be inside
TRIALS, PROBES = 3, 200
PERCENTILE, SAFETY = 0.99, 1.25


def needed(got: Array, want: Array, relative: float) -> float:
    """The smallest absolute tolerance that lets all finite elements pass beside a relative one, in float32."""
    a, b = got.astype(np.float32), want.astype(np.float32)
    with np.errstate(invalid="ignore"):
        beyond = np.abs(a - b) - np.float32(relative) * np.abs(b)
    return float(beyond[np.isfinite(beyond)].max(initial=0.0))


@cache
def calibrated(op: str, dtype: str, variant: str) -> tuple[float, float]:
    """SOL-ExecBench's absolute tolerances of a variant, for the output and for the gradients."""
    (case,) = (c for c in cases(op, dtype, families=["normal"]) if c.id == variant)
    outputs, gradients = [], []
    for seed in range(TRIALS, TRIALS + PROBES):  # other inputs than those that are judged
        probe = drawn(case, normal, normal, seed)
        wide = widened(probe)
        off = [
            needed(a, b.astype(a.dtype), RELATIVE[dtype])
            for a, b in zip(results(probe, *pytorch(probe)), results(wide, *pytorch(wide)), strict=True)
        ]
        outputs.append(off[0])
        gradients.append(max(off[1:], default=0.0))
    at = int(PERCENTILE * (PROBES - 1))
    return SAFETY * sorted(outputs)[at], SAFETY * sorted(gradients)[at]


def matched(got: Array, want: Array, absolute: float, relative: float) -> float:
    """The share of elements of `got` that are inside both tolerances together, in float32; 0 for what is no comparison:
    another shape or dtype, NaN or infinity."""
    if got.shape != want.shape or got.dtype != want.dtype or not np.isfinite(got.astype(np.float32)).all():
        return 0.0
    a, b = got.astype(np.float32), want.astype(np.float32)
    with np.errstate(invalid="ignore"):
        inside = np.abs(a - b) <= np.float32(absolute) + np.float32(relative) * np.abs(b)
    return float(inside.mean()) if inside.size else 1.0


def sol_execbench(case: Case, forward: Forward, vjp: Vjp) -> bool:
    dtype, variant = case.cotangent.dtype.name, case.id.rsplit("/", 1)[0]
    absolute = calibrated(case.op.name, dtype, variant)
    compared = pairs(case, forward, vjp)
    return all(matched(a, b, absolute[gradient], RELATIVE[dtype]) >= MATCHED for a, b, gradient in compared)


def _normally(op: Op, dtype: str) -> Iterator[Case]:
    return given(op, dtype, normal, normal)


def _five_times(op: Op, dtype: str) -> Iterator[Case]:
    return chain.from_iterable(given(op, dtype, uniform(0, 1), ones, seed) for seed in range(5))


def _of_low_precision(op: Op, dtype: str, trials: int) -> Iterator[Case]:
    if dtype not in RELATIVE:
        raise NotImplementedError(f"dtype is {dtype!r}, expected one of {', '.join(RELATIVE)}")
    yield from chain.from_iterable(given(op, dtype, normal, normal, seed) for seed in range(trials))


BASELINES: Mapping[str, Baseline] = MappingProxyType(
    {
        "gradcheck slow": Baseline(lambda op, _: _normally(smaller(op), "float64"), partial(gradcheck, fast=False)),
        "gradcheck fast": Baseline(lambda op, _: _normally(op, "float64"), partial(gradcheck, fast=True)),
        "assert_close": Baseline(_normally, assert_close),
        "tinygrad": Baseline(lambda op, dtype: given(op, dtype, uniform(-2, 2), ones), tinygrad),
        "KernelBench": Baseline(_five_times, kernelbench),
        "Liger": Baseline(_normally, liger),
        "torchtitan": Baseline(partial(_of_low_precision, trials=1), torchtitan),
        "SOL-ExecBench": Baseline(partial(_of_low_precision, trials=TRIALS), sol_execbench),
    }
)
