"""The catalogue: one module per op, found by name. Modules whose name begins with an underscore hold no op.

The package is itself a mapping: refnn.ops["softmax"] is the op, refnn.ops.softmax the module that holds it.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from types import ModuleType
from typing import cast

from refnn.op import Op
from refnn.refusals import nearest

_NAMES = tuple(sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")))


class Catalogue(ModuleType, Mapping[str, Op]):
    """The ops by name, sorted. A module is imported when its op is asked for: import refnn stays cheap."""

    def __getitem__(self, name: str) -> Op:
        if name not in _NAMES:
            raise KeyError(name)
        return _load(name)

    def __contains__(self, name: object) -> bool:
        return name in _NAMES

    def __iter__(self) -> Iterator[str]:
        return iter(_NAMES)

    def __len__(self) -> int:
        return len(_NAMES)

    __eq__ = object.__eq__  # as of any module: tools keep modules in sets
    __hash__ = object.__hash__


sys.modules[__name__].__class__ = Catalogue
OPS = cast(Catalogue, sys.modules[__name__])


@cache
def _load(name: str) -> Op:
    op = getattr(importlib.import_module(f"{__name__}.{name}"), name, None)
    if not isinstance(op, Op) or op.name != name:
        raise ImportError(f"refnn/ops/{name}.py does not end in an Op named {name!r}")
    return op


def find(op: str | Op) -> Op:
    """The op called `op` (or the op itself). LookupError names the op that is meant, or what it is made of."""
    if isinstance(op, Op):
        return op
    if op not in OPS:
        raise LookupError(f"unknown op {op!r}{meant(str(op))}")
    return OPS[op]


# --- names that the catalogue lacks ----------------------------------------------------------------------------------

# What others call an op of the catalogue.
ALSO_CALLED = {
    "absolute": "abs",
    "affine": "linear",
    "avgpool": "avg_pool2d",
    "avgpool2d": "avg_pool2d",
    "bce": "binary_cross_entropy_with_logits",
    "bce_with_logits": "binary_cross_entropy_with_logits",
    "arctan": "atan",
    "arcsinh": "asinh",
    "clip": "clamp",
    "conv": "conv2d",
    "conv2d_transpose": "conv_transpose2d",
    "convolution": "conv2d",
    "crossentropy": "cross_entropy",
    "divide": "div",
    "deconv": "conv_transpose2d",
    "dense": "linear",
    "expit": "sigmoid",
    "fc": "linear",
    "fully_connected": "linear",
    "gemm": "linear",
    "hard_sigmoid": "hardsigmoid",
    "hard_swish": "hardswish",
    "hard_tanh": "hardtanh",
    "inverse": "reciprocal",
    "l2_loss": "half_squared_error",
    "ln": "log",
    "log_sigmoid": "logsigmoid",
    "log_sum_exp": "logsumexp",
    "logistic": "sigmoid",
    "lrelu": "leaky_relu",
    "mae": "l1_loss",
    "bmm": "matmul",
    "mm": "matmul",
    "multiply": "mul",
    "subtract": "sub",
    "max_pool": "max_pool2d",
    "maxpool": "max_pool2d",
    "mse": "mse_loss",
    "negative": "neg",
    "negative_log_likelihood": "nll_loss",
    "sgn": "sign",
    "softargmax": "softmax",
    "softmax_cross_entropy": "cross_entropy",
    "swish": "silu",
    "weight_decay": "l2_penalty",
}
# What the field has and the catalogue lacks, with the ops that it is made of or that are nearest in meaning.
MADE_OF = {
    "adaptive_avg_pool": ("avg_pool2d",),
    "attention": ("matmul", "softmax"),
    "batch_norm": (),
    "bilinear": ("linear",),
    "cosine_similarity": (),
    "embedding": ("linear",),
    "geglu": ("glu", "gelu"),
    "group_norm": (),
    "gru": ("linear", "sigmoid", "tanh"),
    "huber_loss": ("smooth_l1_loss",),
    "instance_norm": (),
    "kl_div": ("cross_entropy", "log_softmax"),
    "lstm": ("linear", "sigmoid", "tanh"),
    "multi_head_attention": ("matmul", "softmax"),
    "reshape": ("flatten",),
    "rnn": ("linear", "tanh"),
    "scaled_dot_product_attention": ("matmul", "softmax"),
    "self_attention": ("matmul", "softmax"),
    "sparsemax": ("softmax",),
    "swiglu": ("glu", "silu"),
}


def meant(name: str) -> str:
    """The end of a sentence that refuses a name: the op that is meant, or what the catalogue has of it."""
    plain = name.lower().replace("-", "_").replace(" ", "_")
    lacking = plain if plain in MADE_OF else nearest(plain, MADE_OF)
    if lacking != plain and (near := ALSO_CALLED.get(plain) or nearest(plain, OPS)):
        return f", did you mean {near!r}?"
    parts = [p for p in MADE_OF.get(lacking, ()) if p in OPS]
    own = '"Add an op of your own" in README.md says how to check it'
    if parts:
        return f": the catalogue lacks {lacking} and has {' and '.join(parts)}; {own}"
    return f": the catalogue lacks {lacking or 'it'}; `refnn ops` lists what it has, and {own}"
