"""The configurations in which a check runs an op: their shapes, their parameters, and those that follow by a rule."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from refnn.op import Input, Op

Shape = tuple[int, ...]


DRAWN = ("positive", "negative", "zeros and negatives")


@dataclass(frozen=True)
class Drawn:
    """A parameter of a variant that is an array. Each case draws its own numbers.

    `kind` is "positive", "negative", or "zeros and negatives": whole numbers, not all of them positive. With `axis` the
    array has one number for each place on that axis of the first input. With `along` it lies along these axes of the
    first input, and broadcasts along the others. The id of a case shows the kind.
    """

    kind: str
    axis: int | None = None
    along: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in DRAWN:
            raise ValueError(f"the kind of a drawn parameter is {self.kind!r}, expected one of {', '.join(DRAWN)}")
        if (self.axis is None) == (not self.along):
            raise ValueError(
                f"Drawn({self.kind!r}) has axis {self.axis} and along {self.along}, expected one of the two"
            )

    def shape(self, first: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the array, for a first input of that shape."""
        if self.axis is not None:
            return (first[self.axis],)
        axes = {a % len(first) for a in self.along}
        return tuple(n if a in axes else 1 for a, n in enumerate(first) if a >= min(axes))

    def __str__(self) -> str:
        return " ".join([self.kind, *(("along", *map(str, self.along)) if self.along else ())])


@dataclass(frozen=True)
class Variant:
    """One configuration in which a check runs an op.

        >>> variant = refnn.Variant({"x": (33, 129), "bias": (129,)}, {"axis": 1}, points=(0.0,))
        >>> variant.first, variant.params, variant.small
        ((33, 129), {'axis': 1}, None)

    `shapes` has the shape of each input, or None where the input is absent. `params` has the parameters; a parameter
    that is an array is a `Drawn`. `kinds` replaces the declared kind of an input for this variant. The kind "ignored"
    means class indices that are all to be ignored. `points` are the inputs at which the formula changes; the family
    "kinks" draws its numbers around them, and does not run without them. `small` has smaller shapes for tests that take
    long for each element. It is needed only where the axes cannot be shortened one by one.
    """

    shapes: Mapping[str, Shape | None]
    params: Mapping[str, Any] = field(default_factory=dict)
    kinds: Mapping[str, str] = field(default_factory=dict)
    points: Sequence[float] = ()
    small: Mapping[str, Shape | None] | None = None

    @property
    def first(self) -> Shape:
        """The shape of the first input, which is never absent."""
        shape = next(iter(self.shapes.values()))
        assert shape is not None
        return shape

    def kind(self, name: str, declared: Input) -> str:
        """What the input of that name holds. A target holds probabilities if it has the shape of the input that it is
        of, and classes otherwise."""
        kind = self.kinds.get(name, declared.kind)
        if kind != "target":
            return kind
        return "probabilities" if self.shapes[name] == self.shapes[declared.of or name] else "classes"

    def classes(self, declared: Input) -> int:
        """The number of classes of an input."""
        shape = self.shapes[declared.of or ""]
        assert shape is not None
        return shape[declared.classes(shape)]


# --- by a rule -------------------------------------------------------------------------------------------------------

# What kernels treat apart: whole vectors and tiles of 16, more than two tiles of 64; a multiple of 8 and one more, for
# the tail of a vector; 32,768 elements, from where on threads share the work.
SIZES = ((16, 64, 48, 32), (17, 33, 9, 25), (144, 160, 176, 192), (33, 1025, 17, 9))
ANY_SHAPE = (
    *((64,), (12, 1), (5, 2), (9, 17), (4, 16, 8, 3), (2, 16, 8, 8), (1, 3, 5, 2, 4)),
    *((144, 160), (33, 1025)),
)


def ordinary(op: Op) -> Iterator[Variant]:
    """The first variant of an op that has two axes, with the lengths at which kernels work in another way. If all
    inputs have one shape, they get those of usual tensors."""
    shapes = [tuple(s for s in v.shapes.values() if s is not None) for v in op.variants]
    if all(len(set(s)) == 1 for s in shapes) and not op.variants[0].kinds:
        first = next((v for v in op.variants if len(v.first) == 2), op.variants[0])
        for shape in ANY_SHAPE:
            yield Variant(dict.fromkeys(first.shapes, shape), first.params, first.kinds, first.points)
        return
    for variant in (v for v in op.variants if len(v.first) == 2 and 0 not in v.first):
        lengths = dict.fromkeys(n for s in variant.shapes.values() for n in s or ())
        for longer in SIZES:
            of = dict(zip(lengths, longer, strict=False))
            given = {n: s if s is None else tuple(of.get(k, k) for k in s) for n, s in variant.shapes.items()}
            yield Variant(given, variant.params, variant.kinds, variant.points)
        return


def pairwise(op: Op, values: Mapping[str, Sequence[Any]], make: Callable[..., Variant]) -> Iterator[Variant]:
    """Variants in which every two values of two factors meet, wherever the op takes them together.

    `make` makes a variant of one value for each factor. Each variant begins with the first pair that is still open, and
    takes of the other factors what meets most open pairs.
    """
    names = list(values)
    places = {n: range(len(values[n])) for n in names}
    open_pairs = {
        ((a, i), (b, j)): None for a, b in itertools.combinations(names, 2) for i in places[a] for j in places[b]
    }
    while open_pairs:
        (a, i), (b, j) = pair = next(iter(open_pairs))
        fixed = {**places, a: (i,), b: (j,)}

        def met(row: tuple[int, ...]) -> list[Any]:
            return [p for p in itertools.combinations(zip(names, row, strict=True), 2) if p in open_pairs]

        rows = sorted(itertools.product(*(fixed[n] for n in names)), key=lambda row: -len(met(row)))
        made = ((row, make(**{n: values[n][k] for n, k in zip(names, row, strict=True)})) for row in rows)
        found = next(((row, variant) for row, variant in made if op.takes(variant)), None)
        if found is None:
            del open_pairs[pair]  # the op takes no such pair
            continue
        for p in met(found[0]):
            del open_pairs[p]
        yield found[1]


def alone(op: Op) -> Op:
    """The op with the variants of its record, and no usual ones."""
    return replace(op, usual=lambda op: ())


# --- large -----------------------------------------------------------------------------------------------------------

SHORT_ROW = 10  # elements


def large(op: Op, elements: int = 50_000) -> Op:
    """The op with larger shapes, for long runs: its first inputs have some `elements` each. There is the largest
    variant that is no loss, that adds up and that takes a mean, each with many rows, and one whose rows are short."""
    many: dict[Any, Variant] = {}
    for variant in sorted(op.variants, key=lambda v: -math.prod(v.first)):
        total = op.summed({**op.defaults, **variant.params})
        kind = total and total.over is not None
        if kind not in many and (longer := with_rows(op, variant, elements)):
            many[kind] = longer
    short = (v for v in short_rows(op, elements) if v not in many.values())
    return alone(replace(op, variants=(*many.values(), *short)))


def short_rows(op: Op, elements: int) -> tuple[Variant, ...]:
    """The largest variant whose rows are short, with so many of them; none where an op has none."""
    short = [v for v in op.variants if 0 < math.prod(v.first[1:]) <= SHORT_ROW < math.prod(v.first)]
    longer = (with_rows(op, v, elements) for v in sorted(short, key=lambda v: -math.prod(v.first)))
    return tuple(itertools.islice(filter(None, longer), 1))


def with_rows(op: Op, variant: Variant, elements: int) -> Variant | None:
    """The variant with so many rows that its first input has some `elements`; None where its rows are no batch, such as
    the channels of one image. A weight may have as many rows as the batch by chance: of the inputs, the fewest with
    which the op takes more rows get them."""
    batch = variant.first[0]

    def times(k: int, names: tuple[str, ...]) -> Variant:
        shapes = {n: (k * batch, *s[1:]) if s and n in names else s for n, s in variant.shapes.items()}
        return replace(variant, shapes=shapes)

    first, *others = (n for n, s in variant.shapes.items() if s and s[0] == batch)
    for count in range(len(others) + 1):
        for chosen in itertools.combinations(others, count):
            if op.takes(times(2, (first, *chosen))):
                return times(elements // math.prod(variant.first) + 1, (first, *chosen))
    return None
