r"""Maximum over groups of channels.

    y[n, j, ...] = max over i of x[n, j C/k + i, ...]      katsaros (maxout), named there without a formula
    dL/dx[n, j C/k + i, ...] = dL/dy[n, j, ...] at the maximum, 0 elsewhere

x is (N, C, ...) with C channels in k = groups groups of consecutive ones; the output is (N, k, ...), in the dtype of x.
Where several channels of a group are its maximum, any weights that sum to one are sound; refnn sends all to the first.
Output and gradient are selections, so no rounding is allowed at all.
"""

from math import inf, nan

from refnn.op import Input, Op, Special
from refnn.ops import _pool
from refnn.variants import ordinary


def _grouped(x, groups):
    return x.reshape(x.shape[0], groups, x.shape[1] // groups, *x.shape[2:])


def forward(ar, x, *, groups):
    return ar.max(_grouped(x, groups), 2)


def vjp(ar, g, y, x, *, groups):
    return (ar.route(g, _grouped(x, groups), 2).reshape(*x.shape),)


def validate(inputs, params):
    shape, groups = inputs["x"].shape, params["groups"]
    if len(shape) < 2 or not shape[1]:
        raise ValueError(f"maxout: x has shape {shape}, expected (N, C, ...) with at least one channel")
    if type(groups) is not int or groups < 1 or shape[1] % groups:
        raise ValueError(f"maxout: groups is {groups!r}, expected a divisor of the {shape[1]} channels")


maxout = Op(
    name="maxout",
    forward_definition=forward,
    vjp_definition=vjp,
    inputs={"x": Input()},
    validate=validate,
    variants=(
        _pool.variant((5, 6), groups=2),
        _pool.variant((3, 6, 2), groups=3),
        _pool.variant((2, 12, 5, 11), (1, 12, 1, 2), groups=4),
        _pool.variant((3, 4), groups=1),
        _pool.variant((3, 4), groups=4),
        _pool.variant((0, 4, 3), groups=2),
    ),
    kinks=_pool.TIES,
    special=(
        Special(([[nan, 1.0, 2.0, 3.0]],), [[nan, 3]], ([[None, 0, 0, 1]],), "NaN wins its group", {"groups": 2}),
        Special(([[inf, 1.0, -inf, 2.0]],), [[inf, 2]], ([[1, 0, 0, 1]],), "infinities are ordered", {"groups": 2}),
        Special(([[-inf, -inf]],), [[-inf]], ([[(1, 0, 0.5), (1, 0, 0.5)]],), "a tie like any other", {"groups": 1}),
        Special(
            ([[1.0, 2.0]],),
            [[2]],
            ([[(0, nan), nan]],),
            "NaN in the cotangent is handed on; elsewhere nothing, or 0 times NaN",
            {"groups": 1},
            cotangent=nan,
        ),
    ),
    rowwise=_pool.each_row(1),
    equations=("katsaros (maxout)",),
    usual=lambda op: (*ordinary(op), _pool.variant((32, 1032), groups=4), _pool.variant((2, 8, 6, 6), groups=2)),
)
