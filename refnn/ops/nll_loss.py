r"""Negative log-likelihood of class indices, given log-probabilities.

    L = -1/S sum_k log y_kj,  j the class of sample k       challa2023 (1), one-hot targets
    dl_k/dz_kj = -w_j [j = t_k]

input is (N, C), (N, C, *rest) or (C,), and holds logarithms of probabilities, as log_softmax gives them; target holds
int64 class indices, in the shape of input without C. `weight` is (C,). The loss of one sample is -w_t z_t; samples
whose class is `ignore_index` count nothing. Reduction "none" keeps the shape of target; "mean" divides the sum by that
of w_t over the samples that count. With every sample ignored the mean is 0/0 = NaN, and the gradients are zero. Weights
are real numbers: where they sum to less than zero the mean divides by that.

Only the entry of each sample's own class is read: no other one can make the loss or a gradient NaN.
"""

from math import inf, nan

from refnn.op import Drawn, Input, Op, Special
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


def _weighted(ar, factor, weight, classes, over=None):
    """A factor for each sample, times the weight of its class."""
    factors = (factor,) if weight is None else (factor, ar.array(weight)[classes])
    return ar.saved(ar.product(*factors, over=over), 2)


def forward(ar, input, target, *, weight=None, ignore_index=-100, reduction="mean"):
    valid = target != ignore_index
    own = ar.take(input, valid * target, class_axis(input.ndim))
    losses = ar.where(valid, -_weighted(ar, own, weight, valid * target), 0)
    return reduce(ar, losses, reduction, counted(ar, weight, target, valid))


def vjp(ar, g, y, input, target, *, weight=None, ignore_index=-100, reduction="mean"):
    axis, valid = class_axis(input.ndim), target != ignore_index
    # Where nothing counts, nothing is divided: the gradients are zero.
    over = counted(ar, weight, target, valid) if reduction == "mean" and valid.any() else None
    each = spread(g, input.shape, axis) if reduction == "none" else g
    own = -_weighted(ar, each, weight, spread(valid * target, input.shape, axis), over)
    return ar.where(hit(target, valid, input.shape, axis), own, 0), None


def count(ar, input, target, *, weight, ignore_index, **params):
    """What the mean divides by."""
    return counted(ar, weight, target, target != ignore_index)


def validate(inputs, params):
    x = inputs["input"]
    check_classes("nll_loss", x)
    check_choice("nll_loss", "reduction", params["reduction"], REDUCTIONS)
    check_class_weight("nll_loss", x, params["weight"])
    check_class_target("nll_loss", x, inputs["target"], params["ignore_index"])


nll_loss = Op(
    name="nll_loss",
    forward_definition=forward,
    vjp_definition=vjp,
    inputs={"input": Input(), "target": Input("classes", differentiable=False, **CLASSES)},
    validate=validate,
    variants=(
        class_variant((5, 7)),
        class_variant((5, 7), reduction="sum", weight=Drawn("positive", axis=1)),
        class_variant((6, 5), reduction="none"),
        class_variant((4, 3, 2), weight=Drawn("positive", axis=1)),
        class_variant((7, 3), ignore_index=1, weight=Drawn("positive", axis=1)),
        class_variant((3, 4), "ignored"),
        class_variant((3, 4), "ignored", weight=Drawn("positive", axis=1)),
        class_variant((3, 4), "ignored", reduction="sum"),
        class_variant((4, 5), weight=Drawn("zeros and negatives", axis=1), reduction="none"),
        class_variant((5, 4), weight=Drawn("negative", axis=1)),
        class_variant((1031, 3)),
        class_variant((6,)),
        class_variant((3, 1)),
        class_variant((0, 3), reduction="sum"),
    ),
    special=(
        Special(([[nan, -1.0]], [1]), 1, ([[0, -1]], None), "the entries of other classes are not read"),
        Special(([[-inf, -1.0]], [1]), 1, ([[0, -1]], None), "a class of probability zero that is not the target"),
        Special(([[-inf, 0.0]], [0]), inf, ([[-1, 0]], None), "a target of probability zero"),
        Special(([[inf, 0.0]], [0]), -inf, ([[-1, 0]], None), "an infinite score, which no logarithm is"),
        Special(([[nan, 0.0]], [0]), nan, (None, None), "NaN in gives NaN out"),
        Special(
            ([[nan, -inf], [-2.0, 0.0]], [-100, 0]), 2, ([[0, 0], [-1, 0]], None), "an ignored sample counts nothing"
        ),
        Special(
            ([[nan, -inf]], [-100]), nan, ([[0, 0]], None), "the mean of no sample is 0/0; nothing depends on input"
        ),
        Special(
            ([[-1.0, -2.0]], [0]), 1, ([[nan, 0]], None), "NaN in the cotangent stays where it belongs", cotangent=nan
        ),
    ),
    rowwise=lambda ndim, params: ndim > 1 and params["reduction"] == "none",
    summed=by_samples(count),
    equations=("challa2023 (1)",),
    usual=usual_classes(("classes",)),
)
