"""Is what a source states the same as what is true? Decided, never guessed: proved equal, or refuted by an instance."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import reduce
from typing import Any

import numpy as np
import sympy as sp
from sympy.core.function import AppliedUndef
from sympy.logic.boolalg import BooleanAtom

DIGITS = 50
MANY = (tuple, list, np.ndarray)
TRUTH = (bool, np.bool_, BooleanAtom)


class Undecided(ArithmeticError):
    """Neither a proof nor a counterexample was found."""


def same(true: Any, stated: Any) -> bool:
    """Whether two values are equal: exactly for numbers, element by element for arrays, by proof for expressions.

    NaN equals nothing. Undecided is raised where an expression is neither proved to vanish nor shown not to.
    """
    if isinstance(true, MANY) or isinstance(stated, MANY):
        if not (isinstance(true, MANY) and isinstance(stated, MANY)) or len(true) != len(stated):
            return False
        return all(same(t, s) for t, s in zip(true, stated, strict=True))
    if true is None or stated is None:
        return true is stated
    if isinstance(true, TRUTH) or isinstance(stated, TRUTH):
        return isinstance(true, TRUTH) and isinstance(stated, TRUTH) and bool(true) == bool(stated)
    if isinstance(true, sp.Basic) or isinstance(stated, sp.Basic):
        return vanishes(sp.sympify(true) - sp.sympify(stated))
    return bool(true == stated)


def vanishes(e: sp.Expr) -> bool:
    """Whether an expression in real symbols, and in functions of which nothing is known, is zero for all of them."""
    e = _lettered(e)
    if e.is_zero:
        return True
    if e.has(sp.nan, sp.zoo) or e.is_infinite:
        return False
    if any(_refuted(instance) for instance in _instances(e)):
        return False
    if all(_proved(_collapsed(case)) for case in _equal_or_not(_collapsed(e))):
        return True
    raise Undecided(f"neither proved zero nor refuted: {e}")


def _lettered(e: sp.Expr) -> sp.Expr:
    """Undefined functions and their derivatives as letters: at a point they can have any values."""
    for kind in ((sp.Subs, sp.Derivative), (AppliedUndef,)):
        found = sorted(e.atoms(*kind), key=lambda x: (-sp.count_ops(x), str(x)))
        e = e.xreplace({x: sp.Symbol(f"f{n}{kind[0].__name__}", real=True) for n, x in enumerate(found)})
    return e


# --- refutation: an exact value, or fifty digits of one --------------------------------------------------------------


def _instances(e: sp.Expr) -> Iterator[sp.Expr]:
    """The expression at rational points; where sizes are symbols, for three of everything and all pairs of indices."""
    free = sorted((s for s in e.free_symbols if isinstance(s, sp.Symbol)), key=str)
    if not e.has(sp.Indexed, sp.KroneckerDelta):
        yield e.xreplace({s: _point(n) for n, s in enumerate(free)})
        return
    bases = {indexed.base.label for indexed in e.atoms(sp.Indexed)}
    sizes = {s: sp.Integer(3) for s in free if s.is_integer and s.is_positive}
    indices = [s for s in free if s.is_integer and s not in sizes]
    others = {s: _point(n) for n, s in enumerate(free) if not s.is_integer and s not in bases}
    for places in itertools.product((0, 1), repeat=len(indices)):
        at = e.subs({**sizes, **dict(zip(indices, places, strict=True)), **others}).doit()
        yield at.xreplace({x: _point(n) for n, x in enumerate(sorted(at.atoms(sp.Indexed), key=str))})


def _point(n: int) -> sp.Rational:
    return sp.Rational(sp.prime(n + 3), sp.prime(n + 5)) + n % 3


def _refuted(value: sp.Expr) -> bool:
    if value.free_symbols:
        return False
    if value.is_Rational:
        return value != 0
    if value.has(sp.nan, sp.zoo):
        return False
    return bool(abs(sp.N(value, DIGITS)) > sp.Rational(1, 10 ** (DIGITS // 2)))


# --- proof: the numerator is the zero polynomial ---------------------------------------------------------------------


def _proved(e: sp.Expr) -> bool:
    return _numerator_is_zero(e) or sp.simplify(e) == 0


def _numerator_is_zero(e: sp.Expr) -> bool:
    """What is neither sum nor product counts as an independent variable: sound, if not complete."""
    atoms: dict[sp.Expr, sp.Dummy] = {}

    def independent(x: sp.Expr) -> bool:
        power = isinstance(x, sp.Pow) and x.exp.is_Integer
        return isinstance(x, sp.Expr) and not power and not isinstance(x, (sp.Add, sp.Mul, sp.Symbol, sp.Rational))

    def name(x: sp.Expr) -> sp.Expr:
        return atoms.setdefault(x, sp.Dummy())

    algebraic = e.replace(independent, name)
    if not algebraic.free_symbols:
        return bool(sp.expand(algebraic) == 0)
    if not algebraic.is_polynomial():
        algebraic = sp.numer(sp.together(algebraic))
    ring = sp.polys.rings.PolyRing(sorted(algebraic.free_symbols, key=str), sp.QQ)
    return not ring.from_expr(algebraic)


def _collapsed(e: sp.Expr) -> sp.Expr:
    """Sums of Kronecker deltas worked out, constant factors taken out of the others, bound indices renamed alike."""
    return e.replace(lambda x: isinstance(x, sp.Sum) and len(x.limits) == 1, _linear)


def _linear(s: sp.Sum) -> sp.Expr:
    """A sum, term by term. An index that a delta ties to its own is in range: indices are declared so."""
    index, low, high = s.limits[0]
    bound = sp.Symbol(f"nu{_depth(s.function)}", integer=True, nonnegative=True)  # no inner sum has that name
    total = sp.Integer(0)
    for term in sp.Add.make_args(sp.expand(s.function)):
        factor, summand = term.as_independent(index, as_Add=False)
        ties = (d for d in summand.atoms(sp.KroneckerDelta) if index in d.args and all(a.is_Symbol for a in d.args))
        tie = next(ties, None)
        if tie is None:
            total += factor * sp.Sum(summand.xreplace({index: bound}), (bound, low, high))
        else:
            (other,) = set(tie.args) - {index}
            total += factor * summand.xreplace({tie: sp.Integer(1)}).subs(index, other)
    return total


def _depth(e: sp.Expr) -> int:
    """How deep sums are nested."""
    return max((1 + _depth(s.function) for s in e.atoms(sp.Sum)), default=0)


def _equal_or_not(e: sp.Expr) -> list[sp.Expr]:
    """The expression for equal and for unequal indices of each Kronecker delta."""

    def split(cases: list[sp.Expr], delta: sp.KroneckerDelta) -> list[sp.Expr]:
        i, j = delta.args
        return [c for e in cases for c in (e.xreplace({delta: sp.Integer(0)}), e.subs(delta, 1).subs(j, i))]

    return reduce(split, sorted(e.atoms(sp.KroneckerDelta), key=str), [e])
