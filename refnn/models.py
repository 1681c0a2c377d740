"""Arithmetic models: what an implementation computes in, as data.

A verdict is a statement about a model: "outside the worst case of this class of algorithms under this model". A model
names the format that values are stored in, the format of intermediates and of accumulators, what happens below the
smallest normal number, and how many ulps its elementary functions may be off.

    float32  float64              everything in that format
    float16  bfloat16             stored in 16 bits, computed and accumulated in float32
    float16-saved  bfloat16-saved    likewise, by several kernels: what one hands to the next may be rounded, too
    float16-each-op  bfloat16-each-op    every intermediate rounded to 16 bits
    dpbf16                        bfloat16-saved, with the dot products of x86: their instructions for bfloat16
                                  (VDPBF16PS, TDPBF16PS) read subnormal numbers as zero and flush their results
    tf32                          float32, but the factors of a dot product lose all but 10 fraction bits

`NAME-ftz` flushes subnormal inputs and results to zero. `NAME@ROW` declares the elementary functions of one library:
`float32@torch-cpu`. Without a row the generic one holds, which covers any usual libm, NumPy's SIMD float32 included.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Any

from refnn.formats import FORMATS, Format
from refnn.refusals import hint

VERSION = 4  # raised whenever a number below changes; printed in every report


# True errors in ulps of the exact result. Sources: NumPy documents at most 4 ulps for its SIMD float32 functions;
# Gladman, Innocente, Mather, Zimmermann, "Accuracy of Mathematical Functions in Single, Double, ... Precision"
# (hal-03141101, 2026) for glibc; SLEEF's u10 functions and Intel VML's high-accuracy mode promise 1 ulp, and PyTorch
# calls those on CPU, and u15 for erfc (exhaustive float32 runs of torch 2.13.0 reach 0.58 for exp, log and tanh, 1 for
# expm1 and log1p; all arguments from 2**-14 to 16 reach 1 for erf and 0.84 for erfc). Its erf of float16
# and bfloat16 is none of those: off by hundreds of ulps near 0 (pytorch #199850), which no row covers. IEEE 754 asks
# for a square root that is correctly rounded; what is divided by it is off by one and a half ulps at most. PyTorch's
# float32 takes VML's square root, which promises 1 ulp and reaches 0.75, and divides by the processor's. Of a million
# arguments each, its rsqrt reaches 1.48, and exp2, logarithms and circular functions with their inverses 0.94: what
# SLEEF promises. Its hyperbolic functions beside tanh are the C library's where an array is not contiguous, and their
# inverses always (1.74 for sinh, 1.98 for acosh): the row of glibc.
# Where a row of FUNCTIONS says so, a function is exact in every row: exp(0) = 1, log(1) = 0, sin(0) = 0.
LIBRARIES = ("generic", "glibc", "torch-cpu", "numpy-float64", "correctly-rounded")
_BY_FUNCTION = {
    "exp": (4.0, 1.0, 1.0, 1.0),
    "log": (4.0, 1.0, 1.0, 1.0),
    "tanh": (5.0, 2.5, 1.01, 3.0),
    "expm1": (4.0, 1.5, 1.01, 1.5),
    "log1p": (4.0, 1.5, 1.01, 1.5),
    "erf": (4.0, 1.5, 1.01, 1.5),
    "erfc": (6.0, 5.5, 1.5, 3.0),
    "sqrt": (1.0, 0.5, 1.0, 0.5),
    "rsqrt": (4.0, 1.5, 1.5, 1.5),
    "sin": (4.0, 1.0, 1.01, 4.0),
    "cos": (4.0, 1.0, 1.01, 4.0),
    "tan": (5.0, 1.5, 1.01, 4.0),
    "asin": (4.0, 1.0, 1.01, 4.0),
    "acos": (4.0, 1.0, 1.01, 4.0),
    "atan": (4.0, 1.0, 1.01, 4.0),
    "sinh": (4.0, 2.5, 2.5, 4.0),
    "cosh": (4.0, 2.5, 2.5, 4.0),
    "asinh": (4.0, 2.5, 2.5, 4.0),
    "acosh": (4.0, 2.5, 2.5, 4.0),
    "atanh": (4.0, 2.5, 2.5, 4.0),
    "exp2": (4.0, 1.0, 1.01, 4.0),
    "log2": (4.0, 1.0, 1.01, 4.0),
    "log10": (4.0, 2.0, 1.01, 4.0),
}
# The row "numpy-float64" is what the oracle's own midpoints are computed with (erf and erfc by refnn's own functions);
# tests/test_balls.py samples it against Arb.
ULPS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        library: MappingProxyType({name: (*ulps, 0.5)[i] for name, ulps in _BY_FUNCTION.items()})
        for i, library in enumerate(LIBRARIES)
    }
)


@dataclass(frozen=True)
class Model:
    """What an implementation computes in; see the module's docstring."""

    name: str
    storage: Format
    compute: Format
    accumulate: Format
    dot_input: float = 0.0  # relative error with which the factors of a dot product are read (tf32)
    dot_floor: float = 0.0  # what a factor below the normal range may lose beside that, up to all of it
    dot_flush: bool = False  # the partial sums of a dot product, and what becomes of them, may be flushed to zero
    saved: bool = False  # what an op marks by `ar.saved` may be rounded to the storage format
    flush: bool = False  # subnormal inputs and results may become zero
    row: str = "generic"

    @property
    def ulps(self) -> Mapping[str, float]:
        return ULPS[self.row]

    def describe(self) -> dict[str, Any]:
        """This model as plain data, for the header of a report."""
        data = asdict(self) | {k: getattr(self, k).name for k in ("storage", "compute", "accumulate")}
        return data | {"version": VERSION, "ulps": dict(self.ulps)}


def _plain(name: str, compute: str, storage: str | None = None, **rest: Any) -> Model:
    return Model(name, FORMATS[storage or compute], FORMATS[compute], FORMATS[compute], **rest)


MODELS: Mapping[str, Model] = MappingProxyType(
    {
        m.name: m
        for m in (
            _plain("float32", "float32"),
            _plain("float64", "float64"),
            _plain("float16", "float32", "float16"),
            _plain("bfloat16", "float32", "bfloat16"),
            _plain("float16-saved", "float32", "float16", saved=True),
            _plain("bfloat16-saved", "float32", "bfloat16", saved=True),
            # Exact products, sums in float32, whatever the processor's flags for subnormal numbers say (Intel SDM).
            _plain("dpbf16", "float32", "bfloat16", saved=True, dot_floor=2.0**-126, dot_flush=True),
            _plain("float16-each-op", "float16"),
            _plain("bfloat16-each-op", "bfloat16"),
            # The hardware may truncate, so a factor loses up to 2**-10, not 2**-11; below 2**-126 it has no more
            # fraction bits than there.
            _plain("tf32", "float32", dot_input=2.0**-10, dot_floor=2.0**-136),
        )
    }
)


def model(name: str | Model) -> Model:
    """The model called `name`: NAME, NAME-ftz, NAME@ROW or NAME-ftz@ROW. ValueError for an unknown one."""
    if isinstance(name, Model):
        return name
    base, _, row = str(name).partition("@")
    plain = base.removesuffix("-ftz")
    if plain not in MODELS:
        raise ValueError(f"model {name!r}: {plain!r} is not one of {', '.join(MODELS)}{hint(plain, MODELS)}")
    if row and row not in ULPS:
        raise ValueError(f"model {name!r}: row {row!r} is not one of {', '.join(ULPS)}")
    return replace(MODELS[plain], name=name, flush=base.endswith("-ftz"), row=row or "generic")


def multiplies_bfloat16(torch: Any = None, flags: str = "/proc/cpuinfo") -> bool:
    """Whether this processor has x86's dot products of bfloat16: as the kernel lists it or, where there is no such
    list, as the module `torch` knows it."""
    try:
        with open(flags, encoding="utf-8", errors="replace") as file:
            return any(line.startswith("flags") and not _DOTS.isdisjoint(line.split()) for line in file)
    except OSError:
        cpu = getattr(torch, "cpu", None)
        return any(getattr(cpu, name, bool)() for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))


_DOTS = {"avx512_bf16", "amx_bf16"}


def default_model(dtype: str, framework: str | None = None) -> str:
    """The name of the model that an implementation is judged by if none is given.

    PyTorch computes in float32 inside a kernel, and runs a composite function as several kernels, each of which stores
    its result. Whether its dot products of bfloat16 know subnormal numbers depends on the processor, and so does the
    model; `dpbf16` allows all that `bfloat16-saved` does.
    """
    if framework is None:
        return dtype
    if dtype == "bfloat16" and multiplies_bfloat16(sys.modules.get(framework)):
        return "dpbf16@torch-cpu"
    return f"{dtype}-saved@torch-cpu" if dtype in ("float16", "bfloat16") else f"{dtype}@torch-cpu"
