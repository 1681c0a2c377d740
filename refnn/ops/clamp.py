r"""Numbers kept between two bounds, elementwise.

    y = max(min, min(x, max))
    dy/dx = 1 inside, 0 outside

Any shape; the output has the shape and dtype of x. A bound of None is none; one of them is a number. On a bound the
slope is a convention: refnn takes 1, as PyTorch does, and other conventions are 0 and 1/2. Output and gradient are
selections, so nothing is rounded but the bounds.
"""

from math import inf, nan

from refnn.op import Input, Op, Special
from refnn.ops._shared import LONG, each_element, elementwise
from refnn.refusals import check_real


def forward(ar, x, *, min=None, max=None):
    y = x if max is None else ar.branch(-x, x, ar.real(max), at=-ar.real(max))
    return y if min is None else ar.branch(x, y, ar.real(min), at=ar.real(min))


def vjp(ar, g, y, x, *, min=None, max=None):
    slope = g if max is None else ar.branch(-x, g, 0, at=-ar.real(max))
    return (slope if min is None else ar.branch(x, slope, 0, at=ar.real(min)),)


def validate(inputs, params):
    given = [key for key in ("min", "max") if params[key] is not None]
    if not given:
        raise ValueError("clamp: min and max are None, expected a number for one of them at least")
    for key in given:
        check_real("clamp", params, key)
    if len(given) == 2 and not params["min"] <= params["max"]:
        raise ValueError(f"clamp: min is {params['min']!r} and max {params['max']!r}, expected min at most max")


_BOTH = {"min": -1.0, "max": 1.0}

clamp = Op(
    name="clamp",
    forward_definition=forward,
    vjp_definition=vjp,
    inputs={"x": Input()},
    validate=validate,
    variants=(
        *elementwise(points=(-1.0, 1.0), **_BOTH),
        *elementwise(LONG, points=(0.5,), min=0.5),
        *elementwise(LONG, points=(-0.25,), max=-0.25),
    ),
    kinks={"clamp'=closed": 1.0, "clamp'=open": 0.0, "clamp'=1/2": 0.5},
    special=(
        Special((nan,), nan, (None,), "NaN in gives NaN out", _BOTH),
        Special((inf,), 1, (0,), "the upper bound; the slope is 0 outside", _BOTH),
        Special((-inf,), -1, (0,), "the lower bound; the slope is 0 outside", _BOTH),
        Special((inf,), inf, (1,), "no upper bound", {"min": 0.5}),
        Special((-inf,), -inf, (1,), "no lower bound", {"max": -0.25}),
        Special((inf,), 1, ((0, nan),), "0, or 0 times NaN", _BOTH, cotangent=nan),
        Special((0.5,), 0.5, (nan,), "NaN in the cotangent is handed on where the slope is 1", _BOTH, cotangent=nan),
        Special((0.0,), 0, (1,), "either sign of zero", _BOTH),
        Special((-0.0,), 0, (1,), "likewise", _BOTH),
        Special((1.0,), 1, ((0, 1, 0.5),), "at a bound any declared convention", _BOTH),
        Special((-1.0,), -1, ((0, 1, 0.5),), "likewise", _BOTH),
    ),
    rowwise=each_element,
)
