r"""Sigmoid linear unit (swish), elementwise.

    y = x sigmoid(x)                                       Hendrycks and Gimpel, arXiv:1606.08415; Elfwing et al. 2018
    dy/dx = sigmoid(x) (1 + x sigmoid(-x))

Any shape; the output has the shape and dtype of x. Neither factor is computed by cancellation or from an exponential
above 1, so results below the normal range are kept as far as the sigmoid is. The derivative is zero near x = -1.278,
where 1 and x sigmoid(-x) cancel: its bound is absolute there, u (1 + |x| sigmoid(-x)) sigmoid(x) times a small number.
The class `exp(-x)` is x / (1 + exp(-x)), differentiated with 1 - sigmoid: the output is zero where exp(-x) overflows,
though the exact value may still be a normal number. The classes `exp2(-x log2 e)` and `(1 + tanh(x/2))/2` take that
class of sigmoid for both; the second has an absolute error of about u |x|. At minus infinity the limits are zero; the
formulas give NaN.
"""

from math import inf, nan

from refnn.op import Input, Op, Special
from refnn.ops import sigmoid as _sigmoid
from refnn.ops._shared import ELEMENTWISE, any_array, each_element


def forward(ar, x):
    return x * _sigmoid.forward(ar, x)


def vjp(ar, g, y, x):
    slope = _sigmoid.forward(ar, x) * (1 + x * _sigmoid.forward(ar, -x))
    return (g * slope,)


def by_exp(ar, x):
    return x / (1 + ar.exp(-x))


def gated(sigmoid):
    """The forward and the vjp from one value of the sigmoid."""

    def forward(ar, x):
        return x * sigmoid(ar, x)

    def vjp(ar, g, y, x):
        s = sigmoid(ar, x)
        return (ar.product(g, s, 1 + x * (1 - s)),)

    return forward, vjp


silu = Op(
    name="silu",
    forward_definition=forward,
    vjp_definition=vjp,
    inputs={"x": Input()},
    validate=any_array,
    variants=ELEMENTWISE,
    algorithms={
        "exp(-x)": (by_exp, gated(_sigmoid.by_exp)[1]),
        "exp2(-x log2 e)": gated(_sigmoid.by_exp2),
        "(1 + tanh(x/2))/2": gated(_sigmoid.by_tanh),
    },
    special=(
        Special((nan,), nan, (None,), "NaN in gives NaN out"),
        Special((inf,), inf, ((1, nan),), "the slope's limit, or infinity times 0"),
        Special((-inf,), (0, nan), ((0, nan),), "the limits, or infinity times 0"),
        Special((0.0,), 0, (0.5,), "either sign of zero"),
        Special((-0.0,), 0, (0.5,), "likewise"),
        Special((1.0,), None, (nan,), "NaN in the cotangent is handed on", cotangent=nan),
    ),
    rowwise=each_element,
)
