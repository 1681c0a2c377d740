r"""The axes from `start` on as one.

    y_i = x_(c, h, w),  i = (c H + h) W + w                 challa2023 (33)
    dL/dx = dL/dy in the shape of x                        challa2023 (35)

x has any shape with the axis `start`, which may be negative; the output is (*x.shape[:start], the product of the rest),
row by row in the order of the axes (channels first). A 0-d array has one place to start from, 0 or -1, and becomes
(1,). Nothing is computed, so no rounding is allowed at all.
"""

from math import inf, nan, prod

from refnn.op import Input, Op, Special, Variant


def forward(ar, x, *, start=1):
    first = start % max(x.ndim, 1)
    return x.reshape(*x.shape[:first], prod(x.shape[first:]))


def vjp(ar, g, y, x, *, start=1):
    return (g.reshape(x.shape),)


def validate(inputs, params):
    shape, start = inputs["x"].shape, params["start"]
    axes = max(len(shape), 1)
    if not isinstance(start, int) or not -axes <= start < axes:
        raise ValueError(
            f"flatten: start is {start!r}, expected an integer from {-axes} to {axes - 1} for shape {shape}"
        )


def _variant(shape, start):
    return Variant({"x": shape}, {"start": start})


flatten = Op(
    name="flatten",
    forward_definition=forward,
    vjp_definition=vjp,
    inputs={"x": Input()},
    validate=validate,
    variants=(
        _variant((2, 3, 5, 7), 1),
        _variant((3, 5, 7), 0),
        _variant((2, 5, 3, 4), 2),
        _variant((2, 3, 5), -1),
        _variant((4, 3, 5), -2),
        _variant((1031,), 0),
        _variant((), 0),
        _variant((0, 3, 2), 1),
        _variant((3, 0, 2), 1),
    ),
    special=(
        Special(([[nan, inf], [-inf, -0.0]],), [[nan, inf], [-inf, "-0"]], ([[None, 1], [1, 1]],), "every bit is kept"),
        Special(([[1.0, 2.0]],), [[1, 2]], ([[nan, nan]],), "NaN in the cotangent is handed on", cotangent=nan),
    ),
    rowwise=lambda ndim, params: ndim == 1 or (ndim > 1 and params["start"] % ndim != 0),
    equations=("challa2023 (33)", "challa2023 (35)"),
)
