"""A progress bar for work that takes long."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from refnn.refusals import NotInstalled, needed_by


@contextmanager
def progress(total: int) -> Iterator[Callable[..., None]]:
    """A progress bar on standard error, if that is a terminal. `step(label)` says what is begun, and
    `step(label, done)` prints a line about what has ended above the bar. A label that is empty begins nothing."""
    make = _bar() if sys.stderr.isatty() else None
    if make is None:
        yield lambda label, done="": None
        return
    with make() as bar:
        task = bar.add_task("", total=total)
        begun = 0

        def step(label: str, done: str = "") -> None:
            nonlocal begun
            if done:
                bar.console.print(done, markup=False, highlight=False, soft_wrap=True)
            if label:
                bar.update(task, description=label, completed=begun)
                begun += 1

        yield step


@functools.cache
def _bar() -> Callable[[], Any] | None:
    """What makes a bar. Where it is not installed a sentence says so, once, and the work goes on without."""
    try:
        with needed_by("the progress bar"):
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
    except NotInstalled as e:
        print(f"refnn: {e}", file=sys.stderr)
        return None

    def make() -> Any:
        label = TextColumn("{task.description}", markup=False)
        columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), label)
        return Progress(*columns, console=Console(stderr=True), transient=True)

    return make
