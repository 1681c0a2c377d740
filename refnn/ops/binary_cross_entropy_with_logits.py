r"""Binary cross-entropy of logits, with PyTorch's parameters.

    l = w (p t log(1 + exp(-x)) + (1 - t) log(1 + exp(x)))
    dl/dx = w ((1 - t) sigma(x) - p t sigma(-x)),   dl/dt = w (p log(1 + exp(-x)) - log(1 + exp(x)))

This is challa2023 (1) for two classes, whose softmax is sigma(x), 1 - sigma(x). input and target have one shape and
dtype; targets are probabilities of the class, usually 0 or 1, and have a gradient. `weight` (w) and `pos_weight` (p)
broadcast to the shape of input: a pos_weight of the shape (C,) goes with the last axis. Reduction "none" keeps the
shape, "sum" adds, "mean" divides the sum by the number of elements, whatever the weights.

The accurate class takes log(1 + exp(x)) as max(x, 0) + log1p(exp(-|x|)) and adds nothing of the other sign: for targets
in [0, 1] both terms are positive, so the loss has a relative bound, however sure and right the logit is. Without p,
dl/dt is -x. The other classes cancel, and their bound is absolute, about u |x|:

    textbook        (1 - t) x + (1 + (p - 1) t) (max(-x, 0) + log1p(exp(-|x|))), as PyTorch does
    max(x, 0)       max(x, 0) - x t + log1p(exp(-|x|)), without p
    log of a sum    the first with log(1 + exp(-|x|)), which adds before the logarithm: an absolute error of about u

All three differentiate by sigma(x) - t, with p by (1 + p t - t) sigma(x) - p t, which loses all digits where sigma(x)
rounds to the target.
"""

from math import inf, nan

from refnn.op import Drawn, Input, Op, Special, Variant
from refnn.ops import sigmoid as _sigmoid
from refnn.ops._shared import by_samples, check_reduction, each_sample, every_element, reduce, usual_pairs
from refnn.refusals import check_same_shape


def _given(ar, parameter):
    """A parameter as factors: none or one."""
    return () if parameter is None else (ar.array(parameter),)


def _log1p_exp(ar, x):
    return ar.relu(x) + ar.log1p(ar.exp(-ar.abs(x)))


def _pulled(ar, g, input, reduction, weight):
    """The factors that every gradient has in common, and what it is divided by."""
    return (g, *_given(ar, weight)), input.size if reduction == "mean" else None


def _reduced(ar, losses, weight, reduction, input):
    return reduce(ar, ar.saved(ar.product(ar.saved(losses), *_given(ar, weight))), reduction, input.size)


def forward(ar, input, target, *, weight=None, pos_weight=None, reduction="mean"):
    hit = ar.product(target, _log1p_exp(ar, -input), *_given(ar, pos_weight))
    losses = hit + (1 - target) * _log1p_exp(ar, input)
    return _reduced(ar, losses, weight, reduction, input)


def vjp(ar, g, y, input, target, *, weight=None, pos_weight=None, reduction="mean"):
    hit = ar.product(target, _sigmoid.forward(ar, -input), *_given(ar, pos_weight))
    slope = (1 - target) * _sigmoid.forward(ar, input) - hit
    common, over = _pulled(ar, g, input, reduction, weight)
    gt = -input
    if pos_weight is not None:
        below, above = (ar.saved(_log1p_exp(ar, z)) for z in (-input, input))
        gt = ar.saved(ar.saved(ar.array(pos_weight) * below) - above)
    return ar.product(slope, *common, over=over), ar.saved(ar.product(gt, *common, over=over), 2)


def _of_logarithm(logarithm):
    """The class that takes log(1 + exp(-|x|)) as `logarithm(ar, exp(-|x|))` and adds max(-x, 0) to it."""

    def forward(ar, input, target, *, weight=None, pos_weight=None, reduction="mean"):
        losses = ar.saved(ar.relu(-input) + logarithm(ar, ar.exp(-ar.abs(input))))
        if pos_weight is not None:
            more = ar.saved(ar.saved(ar.array(pos_weight) - 1) * target)
            losses = ar.saved(ar.saved(1 + more) * losses)
        return _reduced(ar, ar.saved(ar.saved(1 - target) * input) + losses, weight, reduction, input)

    return forward


def forward_from_above(ar, input, target, *, weight=None, pos_weight=None, reduction="mean"):
    if pos_weight is not None:
        return from_below(ar, input, target, weight=weight, pos_weight=pos_weight, reduction=reduction)
    beyond = ar.relu(input) - input * target
    return _reduced(ar, beyond + ar.log1p(ar.exp(-ar.abs(input))), weight, reduction, input)


def textbook(ar, g, y, input, target, *, weight=None, pos_weight=None, reduction="mean"):
    common, over = _pulled(ar, g, input, reduction, weight)
    s = ar.saved(_sigmoid.forward(ar, input))
    gt = vjp(ar, g, y, input, target, weight=weight, pos_weight=pos_weight, reduction=reduction)[1]
    if pos_weight is None:
        return ar.saved(ar.product(ar.saved(s - target), *common, over=over)), gt
    hit = ar.saved(ar.array(pos_weight) * target)
    both = ar.saved(1 + hit)
    slope = ar.saved(ar.saved(ar.saved(both - target) * s) - hit)
    return ar.saved(ar.product(slope, *common, over=over)), gt


from_below = _of_logarithm(lambda ar, e: ar.log1p(e))
log_of_sum = _of_logarithm(lambda ar, e: ar.log(1 + e))


def validate(inputs, params):
    check_same_shape("binary_cross_entropy_with_logits", inputs)
    x = inputs["input"]
    check_reduction("binary_cross_entropy_with_logits", x, params["reduction"])
    for name in ("weight", "pos_weight"):
        value = params[name]
        if value is not None and not _broadcasts(getattr(value, "shape", None), x.shape):
            got = getattr(value, "shape", repr(value))
            raise ValueError(
                f"binary_cross_entropy_with_logits: {name} has shape {got}, expected one that broadcasts to that of "
                f"input, {x.shape}"
            )


def _broadcasts(shape, full):
    if shape is None or len(shape) > len(full):
        return False
    return all(n in (1, m) for n, m in zip(reversed(shape), reversed(full), strict=False))


def _variant(shape, **params):
    return Variant({"input": shape, "target": shape}, params)


binary_cross_entropy_with_logits = Op(
    name="binary_cross_entropy_with_logits",
    forward_definition=forward,
    vjp_definition=vjp,
    inputs={"input": Input(), "target": Input("unit")},
    validate=validate,
    variants=(
        _variant((5, 7)),
        _variant((1031,), reduction="none"),
        _variant((7, 3), reduction="none"),
        _variant((3, 2, 5), reduction="sum"),
        _variant((5, 3), reduction="none", weight=Drawn("positive", along=(0,))),
        _variant((5, 4), weight=Drawn("positive", along=(0, 1)), pos_weight=Drawn("positive", along=(-1,))),
        _variant((3, 4, 5), reduction="sum", pos_weight=Drawn("positive", along=(-1,))),
        _variant(
            (3, 5),
            reduction="none",
            weight=Drawn("zeros and negatives", along=(1,)),
            pos_weight=Drawn("positive", along=(1,)),
        ),
        _variant((4, 3), reduction="none", pos_weight=Drawn("zeros and negatives", along=(0, 1))),
        _variant((), pos_weight=None),
        _variant((0, 4), reduction="none"),
    ),
    algorithms={
        "textbook": (from_below, textbook),
        "max(x, 0)": (forward_from_above, textbook),
        "log of a sum": (log_of_sum, textbook),
    },
    special=(
        Special((nan, 0.5), nan, (None, nan), "NaN in gives NaN out"),
        Special((0.5, nan), nan, (nan, None), "NaN in gives NaN out, and dl/dx depends on the target"),
        Special((inf, 0.0), inf, (1, -inf), "infinitely sure and wrong"),
        Special((-inf, 1.0), inf, (-1, inf), "infinitely sure and wrong"),
        Special((inf, 1.0), (0, nan), (0, -inf), "infinitely sure and right: 0 in the limit, 0 times infinity by IEEE"),
        Special((-inf, 0.0), (0, nan), (0, inf), "infinitely sure and right: likewise"),
        Special((inf, 0.5), inf, (0.5, -inf), "half wrong"),
        Special((-inf, 0.5), inf, (-0.5, inf), "half wrong"),
        Special((0.0, 1.0), None, (-0.5, 0), "at 0, where |x| has a kink and the loss has none"),
        Special((-0.0, 0.0), None, (0.5, 0), "likewise"),
        Special((2.0, 1.0), None, (nan, nan), "NaN in the cotangent is handed on", cotangent=nan),
    ),
    rowwise=lambda ndim, params: each_sample(ndim, params) and params["weight"] is params["pos_weight"] is None,
    summed=by_samples(every_element),
    equations=("challa2023 (1)",),
    usual=usual_pairs(weight=(None, Drawn("positive", along=(-1,))), pos_weight=(None, Drawn("positive", along=(-1,)))),
)
