"""The mutants, by family, and the right implementations that some of them change."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from refnn.study.power.catalogue import (
    arithmetic,
    convolution,
    functions,
    layers,
    losses,
    norms,
    piecewise,
    pooling,
    reductions,
    smooth,
    softmax,
)
from refnn.study.power.mutant import Mutant, Pair

_MODULES = (arithmetic, convolution, functions, layers, losses, norms, piecewise, pooling, reductions, smooth, softmax)

FAMILIES: Mapping[str, tuple[Mutant, ...]] = MappingProxyType(
    {module.__name__.rpartition(".")[2]: module.MUTANTS for module in _MODULES}
)
MUTANTS: tuple[Mutant, ...] = tuple(m for mutants in FAMILIES.values() for m in mutants)

# Op -> an implementation in NumPy that shares nothing with refnn's; what is mutated where an op has one.
RIGHT: Mapping[str, Pair] = MappingProxyType({op: pair for module in _MODULES for op, pair in module.RIGHT.items()})
