"""The parameters of convolutions and pooling, as frameworks take them that have one form of each: a number for each
axis, and a pair of paddings for each axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Pairs = list[tuple[int, int]]


def each(value: Any, rank: int) -> tuple[int, ...]:
    """One number for each of `rank` axes."""
    return tuple(value) if isinstance(value, tuple) else (value,) * rank


def pairs(padding: Any, kernel: Sequence[int], dilation: Any) -> Pairs:
    """What a convolution adds before and after each axis."""
    reach = [d * (k - 1) for k, d in zip(kernel, each(dilation, len(kernel)), strict=True)]
    if padding == "valid":
        return [(0, 0)] * len(reach)
    if padding == "same":
        return [(r // 2, (r + 1) // 2) for r in reach]
    if padding == "full":
        return [(r, r) for r in reach]
    return [p if isinstance(p, tuple) else (p, p) for p in each(padding, len(reach))]


def overhang(
    sizes: Sequence[int], kernel: Sequence[int], stride: Sequence[int], padding: Pairs, dilation: Sequence[int]
) -> Pairs:
    """The paddings of a pool whose last windows may overhang: those that begin inside the input or before it."""
    found = []
    for n, k, s, (before, after), d in zip(sizes, kernel, stride, padding, dilation, strict=True):
        reach = d * (k - 1) + 1
        count = -(-(n + before + after - reach) // s) + 1
        if (count - 1) * s >= n + before:
            count -= 1
        found.append((before, max(after, (count - 1) * s + reach - n - before)))
    return found
