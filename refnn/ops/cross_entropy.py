r"""Cross-entropy of logits, with PyTorch's parameters.

    L = -1/S sum_k sum_j t_kj log y_kj                     challa2023 (1)
    dL/da_kj = (y_kj sum_i t_ki - t_kj) / S                challa2023 (16); (18) where the targets sum to one

input is (N, C), (N, C, *rest) or (C,). target is either int64 class indices of that shape without C, or probabilities
of the shape and dtype of input. `weight` is (C,). The loss of one sample with class index t is

    l = -(1 - eps) w_t z_t - eps/C sum_c w_c z_c,          z = log_softmax(input)

and of one with probabilities p: l = -sum_c w_c ((1 - eps) p_c + eps/C) z_c, with eps = label_smoothing. Samples whose
class is `ignore_index` count nothing (it may name a valid class, which stays in the softmax and the smoothing of the
others); probabilities ignore it. "mean" divides by the sum of w_t over the samples that count, and probabilities by N.
With every sample ignored the mean is 0/0 = NaN, and the gradients are zero.

The logarithm of softmax has an absolute bound (see log_softmax), so the loss has one too. The gradient may be formed as
p sum(t) - t and then multiplied by g / S, as kernels of the loss do, or from the cotangent of the logarithms, as
log_softmax does; p is exp(z), or softmax itself. The classes are those of the forward of log_softmax.
"""

from math import inf, nan

from refnn.op import Drawn, Input, Op, Special
from refnn.ops import OPS
from refnn.ops import softmax as _softmax
from refnn.ops._shared import (
    CLASSES,
    REDUCTIONS,
    by_samples,
    check_class_target,
    check_class_weight,
    check_classes,
    class_axis,
    class_variant,
    counted,
    hit,
    reduce,
    spread,
    usual_classes,
)
from refnn.refusals import check_choice

_log_softmax = OPS["log_softmax"]  # the op, whose classes this one takes over


def _is_index(target):
    return getattr(target, "dtype", None) is not None and target.dtype.kind in "iu"


def _column(ar, weight, ndim, axis):
    """The class weights as an array that broadcasts against (N, C, *rest)."""
    return ar.array(weight).reshape(*[-1 if i == axis else 1 for i in range(ndim)])


def forward(ar, input, target, *, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    axis = class_axis(input.ndim)
    classes, z = input.shape[axis], ar.saved(_log_softmax.forward_definition(ar, input, axis=axis))
    factors = (z,) if weight is None else (z, _column(ar, weight, input.ndim, axis))
    if not _is_index(target):
        terms = ar.saved(ar.product(_smoothed(ar, target, classes, label_smoothing), *factors))
        losses = ar.saved(ar.sum(terms, axis))
        return reduce(ar, -losses, reduction, losses.size)
    valid, weighted = target != ignore_index, ar.saved(ar.product(*factors))
    losses = ar.take(weighted, valid * target, axis)
    if label_smoothing:
        share = ar.real(label_smoothing)
        uniform = ar.saved(ar.product(share, ar.saved(ar.sum(weighted, axis)), over=classes))
        losses = ar.saved((1 - share) * losses) + uniform
    losses = ar.where(valid, ar.saved(losses), 0)
    return reduce(ar, -losses, reduction, counted(ar, weight, target, valid))


def _smoothed(ar, target, classes, label_smoothing):
    if not label_smoothing:
        return target
    share = ar.real(label_smoothing)
    return ar.saved(ar.saved((1 - share) * target) + share / classes)


def vjp(ar, g, y, input, target, *, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    axis = class_axis(input.ndim)
    classes, z = input.shape[axis], ar.saved(_log_softmax.forward_definition(ar, input, axis=axis))
    column = () if weight is None else (_column(ar, weight, input.ndim, axis),)
    if reduction == "none":
        g = spread(g, input.shape, axis)

    def pulled(t, gz, sum_t, sum_gz, over):
        """p sum(gz) - gz, or (p sum(t) - t) g / over, where gz = t g / over."""
        p = ar.either(lambda: ar.exp(z), lambda: _softmax.forward(ar, input, axis=axis))
        return ar.either(lambda: p * sum_gz - gz, lambda: ar.product(p * sum_t - t, g, over=over))

    def summed(x):
        return ar.sum(x, axis, keepdims=True)

    if not _is_index(target):
        over = input.size // classes if reduction == "mean" else None
        smoothed = _smoothed(ar, target, classes, label_smoothing)
        t, gz = ar.product(smoothed, *column), ar.saved(ar.product(smoothed, g, *column, over=over), 2)
        keep = () if not label_smoothing else (1 - ar.real(label_smoothing),)
        return pulled(t, gz, summed(t), summed(gz), over), -ar.saved(ar.product(z, g, *column, *keep, over=over), 2)
    valid = target != ignore_index
    over = counted(ar, weight, target, valid) if reduction == "mean" else None
    hits = ar.one_hot(valid * target, classes, axis)
    if label_smoothing:
        share = ar.real(label_smoothing)
        uniform = ar.product(share, *column, over=classes)
        t = (1 - share) * (hits if weight is None else hits * column[0]) + uniform
        gz = ar.saved(ar.product(t, g, over=over), 2)
        gx = pulled(t, gz, summed(t), summed(gz), over)
    else:  # a sum of zeros and one number is that number
        own = () if weight is None else (spread(ar.array(weight)[valid * target], input.shape, axis),)
        each = ar.saved(ar.product(*own, g, over=over))
        gz = ar.where(hit(target, valid, input.shape, axis), each, 0)
        gx = pulled(ar.product(hits, *own), gz, ar.product(*own) if own else 1, each, over)
    return (gx if valid.all() else ar.where(spread(valid, input.shape, axis), gx, 0)), None


def count(ar, input, target, *, weight, ignore_index, **params):
    """What the mean divides by."""
    if not _is_index(target):
        return input.size // input.shape[class_axis(input.ndim)]
    return counted(ar, weight, target, target != ignore_index)


def validate(inputs, params):
    x, target = inputs["input"], inputs["target"]
    check_classes("cross_entropy", x)
    check_choice("cross_entropy", "reduction", params["reduction"], REDUCTIONS)
    if not 0 <= params["label_smoothing"] <= 1:
        raise ValueError(
            f"cross_entropy: label_smoothing is {params['label_smoothing']}, expected a number from 0 to 1"
        )
    check_class_weight("cross_entropy", x, params["weight"])
    if _is_index(target):
        check_class_target("cross_entropy", x, target, params["ignore_index"])
    elif target.shape != x.shape:
        raise ValueError(f"cross_entropy: target has shape {target.shape}, expected that of input, {x.shape}")


cross_entropy = Op(
    name="cross_entropy",
    forward_definition=forward,
    vjp_definition=vjp,
    inputs={"input": Input(), "target": Input("target", **CLASSES)},
    validate=validate,
    variants=(
        class_variant((5, 7)),
        class_variant((5, 7), reduction="sum", weight=Drawn("positive", axis=1)),
        class_variant((6, 5), reduction="none", label_smoothing=0.1),
        class_variant((4, 3, 2), weight=Drawn("positive", axis=1), label_smoothing=0.25),
        class_variant((7, 3), ignore_index=1, weight=Drawn("positive", axis=1), label_smoothing=0.1),
        class_variant((3, 4), "ignored"),
        class_variant((4, 5), weight=Drawn("zeros and negatives", axis=1), reduction="sum"),
        class_variant((3, 1031)),
        class_variant((6,)),
        class_variant((3, 1)),
        class_variant((5, 7), "probabilities"),
        class_variant(
            (3, 4, 2), "probabilities", reduction="none", weight=Drawn("positive", axis=1), label_smoothing=0.1
        ),
        class_variant((4, 6), "probabilities", reduction="sum"),
    ),
    special=(
        Special(([nan, 0.0], 1), nan, ([None, nan], None), "NaN in gives NaN out, whichever the class"),
        Special(([0.0, -inf], 0), 0, ([0, 0], None), "certain and right: log(1), and nothing to learn"),
        Special(([0.0, -inf], 1), inf, ([1, -1], None), "certain and wrong: the loss is infinite, its gradient is not"),
        Special(([-inf, -inf], 0), nan, (nan, None), "all masked: log(0/0)"),
        Special(
            ([inf, 0.0], 0),
            (nan, 0),
            ([(nan, 0)] * 2, None),
            "the limit is that of certain and right; inf - inf is NaN",
        ),
        Special(([inf, 0.0], 1), (nan, inf), ([(nan, 1), (nan, -1)], None), "likewise, certain and wrong"),
        Special(
            ([-inf, 0.0], 0), 0, (0, None), "an ignored sample counts nothing", {"ignore_index": 0, "reduction": "sum"}
        ),
        Special(([0.0, 0.0], 0), None, (nan, None), "NaN in the cotangent is handed on", cotangent=nan),
    ),
    rowwise=lambda ndim, params: ndim > 1 and params["reduction"] == "none",
    summed=by_samples(count),
    equations=("challa2023 (1)", "challa2023 (16)"),
    usual=usual_classes(("classes", "probabilities"), label_smoothing=(0.0, 0.1, 1.0)),
)
