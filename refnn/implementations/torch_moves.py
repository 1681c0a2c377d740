"""PyTorch's functions that move numbers and compute nothing: from where the elements of what they return are.

The function itself says so. It runs on arrays whose elements are labels, and the labels that come out are the places.
So what is judged is that a run moved its own numbers as it moved the labels, and that the gradients are the adjoint of
that: whether a view is the view that its documentation promises is not asked.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as pytree

from refnn.implementations.torch import to_numpy
from refnn.implementations.torch_calls import said
from refnn.implementations.torch_modules import Refused
from refnn.networks.moves import Places

# By name, because a function such as sort moves numbers too, by what they are: labels would not tell.
_NAMES = """
    T H mT mH adjoint broadcast_tensors broadcast_to cat channel_shuffle chunk column_stack concat concatenate
    constant_pad_nd copy detach diag diag_embed diagonal dsplit dstack embedding expand expand_as fill flatten flip
    fliplr flipud fold gather getitem hsplit hstack index_copy index_fill index_select masked_fill masked_scatter
    masked_select meshgrid moveaxis movedim narrow native_channel_shuffle pad permute pixel_shuffle pixel_unshuffle
    ravel repeat repeat_interleave reshape reshape_as roll rot90 row_stack scatter select select_scatter setitem
    slice_scatter split split_with_sizes squeeze stack swapaxes swapdims t take take_along_dim tensor_split tile
    transpose tril triu unbind unflatten unfold unsafe_chunk unsafe_split unsqueeze view view_as vsplit vstack where
    zero
"""
MOVES = frozenset(_NAMES.split())


def places(func: Any, plain: str, args: Any, kwargs: Any, made: Any) -> list[Places]:
    """For each tensor that a call returned, from where its elements are. Refused says that the call does not only move
    numbers."""
    given = [t for t in pytree.tree_leaves((args, kwargs)) if _numbers(t)]
    if len(dtypes := {t.dtype for t in (*given, *_tensors(made))}) > 1:
        raise Refused(f"{plain} of {' and '.join(sorted(map(str, dtypes)))} is not judged")
    sizes = [t.numel() for t in given]
    count = sum(sizes)
    shapes = [tuple(t.shape) for t in given]
    low = _labelled(func, args, kwargs, given, 1)
    high = _labelled(func, args, kwargs, given, 1 + count)
    found = []
    for y, a, b in zip(_tensors(made), low, high, strict=True):
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        moved = ~same & (a + count == b)
        if a.shape != tuple(y.shape) or not (moved | same).all():
            raise Refused(f"this call of {plain} computes, and is not judged")
        source = np.where(moved, a - 1, -1).astype(np.int64)
        constant = np.where(moved, 0, to_numpy(y)).astype(to_numpy(y).dtype)
        found.append(Places(shapes, source, constant, _silent(func, plain, args, kwargs, a.shape)))
    return found


CHOICES = {"max": True, "min": False, "topk": True, "sort": False}  # by size along an axis; the largest first


def chosen(plain: str, named: Mapping[str, Any], made: Any) -> Places:
    """From where the elements are that a function chose by their size. They are where its indices say, if those hold
    the numbers that NumPy sorts there, and else where NumPy has them. Refused says that it did something else."""
    values, indices = (to_numpy(t) for t in made)
    x = next(iter(named.values()))
    if not isinstance(x, torch.Tensor) or not x.ndim:
        raise Refused(f"this call of {plain} is not judged")
    largest = bool(named.get("largest", named.get("descending", CHOICES[plain])))
    axis, numbers = int(named["dim"]) % x.ndim, to_numpy(x).astype(np.float64)
    there = indices if values.ndim == x.ndim else np.expand_dims(indices, axis)
    order = np.argsort(-numbers if largest else numbers, axis=axis, kind="stable")
    best = np.take(order, range(there.shape[axis]), axis=axis)
    found, sorted_ = (np.take_along_axis(numbers, i, axis) for i in (there, best))
    if named.get("sorted") is False:
        found, sorted_ = np.sort(found, axis=axis), np.sort(sorted_, axis=axis)
    sound = np.array_equal(found, sorted_, equal_nan=True)
    labels = np.arange(numbers.size).reshape(numbers.shape)
    source = np.take_along_axis(labels, there if sound else best, axis).reshape(values.shape)
    nothing = np.zeros(values.shape)
    return Places([tuple(x.shape)], source, nothing.astype(to_numpy(x).dtype), nothing.astype(bool))


def _numbers(t: Any) -> bool:
    return isinstance(t, torch.Tensor) and t.is_floating_point()


def _tensors(made: Any) -> list[torch.Tensor]:
    return [t for t in pytree.tree_leaves(made) if isinstance(t, torch.Tensor)]


def _labelled(func: Any, args: Any, kwargs: Any, given: Sequence[torch.Tensor], first: int) -> list[np.ndarray]:
    """What the function makes of labels that count from `first`. Float64 holds them exactly, and 0 is none of them."""
    starts = iter(np.cumsum([first, *(t.numel() for t in given)]))

    def label(t: Any) -> Any:
        if not _numbers(t):
            return t
        start = int(next(starts))
        return torch.arange(start, start + t.numel(), dtype=torch.float64, device=t.device).reshape(t.shape)

    with torch.no_grad():
        passed = pytree.tree_map(label, (args, kwargs))
        return [to_numpy(t).astype(np.float64) for t in _tensors(func(*passed[0], **passed[1]))]


def _silent(func: Any, plain: str, args: Any, kwargs: Mapping[str, Any], shape: tuple[int, ...]) -> np.ndarray:
    """Where the output hands no gradient on by its definition: the rows of an embedding's padding."""
    if plain != "embedding":
        return np.zeros(shape, bool)
    if not inspect.isfunction(func):
        raise Refused("this embedding is judged where it is called as torch.nn.functional.embedding")
    named = said(func, plain, args, kwargs)
    if named.get("scale_grad_by_freq") or named.get("max_norm") is not None:
        raise Refused("an embedding with max_norm or scale_grad_by_freq computes, and is not judged")
    if (padding := named["padding_idx"]) is None:
        return np.zeros(shape, bool)
    rows = to_numpy(named["input"] == padding % len(named["weight"]))
    return np.broadcast_to(rows[..., None], shape)
