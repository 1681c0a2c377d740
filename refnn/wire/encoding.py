"""Numbers and parameters as text, for files and messages: bit patterns in hexadecimal digits, and plain JSON values.

Every number is its IEEE 754 bit pattern, most significant digit first, so that NaN, infinities, the sign of zero and
subnormal numbers need no words of their own, and nobody needs `strtod`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from refnn.formats import FORMATS

INTEGER = "int64"
DTYPES = (*FORMATS, INTEGER)


def dtype_of(name: str) -> np.dtype[Any]:
    """The NumPy dtype of that name; ValueError for one that no file holds."""
    if name not in DTYPES:
        raise ValueError(f"dtype {name!r} is not one of {', '.join(DTYPES)}")
    return np.dtype(np.int64) if name == INTEGER else FORMATS[name].dtype


def digits(dtype: str) -> int:
    """Hexadecimal digits of one element."""
    return 2 * dtype_of(dtype).itemsize


def encode(x: np.ndarray) -> str:
    """The bits of an array in C order. Every NaN is the positive quiet one without a payload."""
    size = x.dtype.itemsize
    bits = np.ascontiguousarray(x).reshape(-1).view(f"u{size}")
    if x.dtype.kind not in "iu" and np.isnan(x).any():
        quiet = np.asarray(np.nan, x.dtype).view(f"u{size}") & ((1 << (8 * size - 1)) - 1)
        bits = np.where(np.isnan(x).reshape(-1), quiet, bits)
    return bits.astype(f">u{size}").tobytes().hex()


def decode(text: Any, dtype: str, shape: Sequence[int]) -> np.ndarray:
    """The array of these bits and of this shape. ValueError where the digits are too few, too many or none."""
    kind, width = dtype_of(dtype), digits(dtype)
    size = math.prod(shape)
    if not isinstance(text, str):
        raise ValueError(f"is {text!r}, expected a string of hexadecimal digits")
    if len(text) != width * size:  # before anything is allocated: a length is only a claim
        raise ValueError(f"has {len(text)} digits, expected {width * size}: {width} for each of {size} {dtype}")
    if odd := re.search("[^0-9a-fA-F]", text):
        raise ValueError(f"has {odd[0]!r} at place {odd.start()}, expected hexadecimal digits")
    raw = np.frombuffer(bytes.fromhex(text), f">u{kind.itemsize}").astype(f"u{kind.itemsize}")
    return raw.view(kind).reshape(tuple(shape))


# --- bounds ----------------------------------------------------------------------------------------------------------


def encode_bounds(bounds: np.ndarray) -> str:
    """Bounds as float32, rounded up; as float64 where one of them is beyond the range of normal float32."""
    top = FORMATS["float32"]
    ordinary = (bounds == 0) | ((bounds >= top.smallest_normal) & (bounds < top.max))
    if not ordinary.all():
        return encode(bounds)
    short = bounds.astype(np.float32)
    return encode(np.where(short < bounds, np.nextafter(short, np.float32(np.inf)), short))


def decode_bounds(text: Any, size: int) -> np.ndarray:
    """Bounds as float64. The digits of an element, 8 or 16, tell float32 from float64. ValueError for a bound that is
    negative, infinite or NaN: it would let everything pass, or nothing."""
    dtype = "float64" if isinstance(text, str) and size and len(text) == 16 * size else "float32"
    bounds = decode(text, dtype, (size,)).astype(np.float64)
    if not ((bounds >= 0) & (bounds < np.inf)).all():
        raise ValueError(f"holds {bounds[~((bounds >= 0) & (bounds < np.inf))][0]}, expected finite numbers from 0 on")
    return bounds


# --- tensors and parameters ------------------------------------------------------------------------------------------


def tensor(x: np.ndarray) -> dict[str, Any]:
    """An array as a JSON object. Its dtype is named where it holds integers, else it is that of the case."""
    named = {"dtype": INTEGER} if x.dtype.kind in "iu" else {}
    return {**named, "shape": list(x.shape), "bits": encode(x)}


def from_tensor(data: Mapping[str, Any], dtype: str) -> np.ndarray:
    """The array of a JSON object; `dtype` is that of the case. ValueError names the field."""
    try:
        return decode(data["bits"], data.get("dtype", dtype), data["shape"])
    except ValueError as e:
        raise ValueError(f"bits {e}") from e


def attribute(value: Any) -> Any:
    """A parameter of an op as a JSON value: tuples as arrays, arrays as tensors."""
    if isinstance(value, np.ndarray):
        return tensor(value)
    if isinstance(value, (tuple, list)):
        return [attribute(v) for v in value]
    return value


def from_attribute(value: Any, dtype: str) -> Any:
    """The parameter of a JSON value."""
    if isinstance(value, Mapping):
        return from_tensor(value, dtype)
    if isinstance(value, list):
        return tuple(from_attribute(v, dtype) for v in value)
    return value
