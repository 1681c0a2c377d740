"""The public names have examples in their docstrings, and the examples run."""

from __future__ import annotations

import doctest
from typing import Any

import numpy as np
import pytest

import refnn

EXAMPLES = (
    refnn.check,
    refnn.assert_conforms,
    refnn.truth,
    refnn.allowance,
    refnn.vjp,
    refnn.case,
    refnn.cases,
    refnn.Network,
    refnn.Op,
    refnn.Variant,
    refnn.Input,
)


@pytest.mark.parametrize("public", EXAMPLES, ids=lambda public: public.__name__)
def test_the_example_gives_what_it_shows(public: Any) -> None:
    """The examples of the object itself, not of its methods; `np` and `refnn` are imported."""
    (test,) = doctest.DocTestFinder(recurse=False).find(
        public, public.__name__, module=False, globs={"np": np, "refnn": refnn}
    )
    assert test.examples, f"refnn.{public.__name__} has no example"
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    said: list[str] = []
    assert runner.run(test, out=said.append).failed == 0, "".join(said)
