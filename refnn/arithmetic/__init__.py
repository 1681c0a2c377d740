"""The arithmetics: each answers the same primitives for its own kind of number.

An op is written once, as functions of an arithmetic `ar` and of arrays in it. It may use the operators
`+ - * /` and `** 2`, indexing, `.shape`, `.ndim`, `.T`, `.reshape`, and these primitives:

    array(x)                    lift a NumPy array of floats, exactly
    real(v)                     a real parameter, which an implementation may round once
    exp(x) log(x) tanh(x)       elementary functions
    abs(x) relu(x)              |x|, max(x, 0)
    branch(x, above, below)     `above` where x > 0, `below` where x < 0; at zero a named convention decides
    sum(x, axis, keepdims)      a sum in any order
    dot(a, b, plus)             a @ b + plus, sums in any order, products fused or not
    product(*factors, over)     a product in any grouping, divided by `over`
    pivot(x, axis)              a constant near max(x) that cancels from the final result
    where(mask, a, b)           a choice by a plain boolean array, never by computed values
    one_hot(target, n, axis)    exact zeros and ones
    take(x, target, axis)       the entries that integer targets select

`a + b`, `a * b` and `a / b` mean one operation each. A chain of more than one addition or multiplication is written as
`sum`, `dot` or `product`, because implementations are free in the order.
"""

from __future__ import annotations


class Unsupported(NotImplementedError):
    """An arithmetic was asked for something that it cannot do."""

    def __init__(self, arithmetic: str, primitive: str) -> None:
        super().__init__(f"{arithmetic} has no {primitive!r}")
        self.arithmetic, self.primitive = arithmetic, primitive
