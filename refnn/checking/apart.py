"""A function in a process of its own: what hangs is stopped, what crashes is told from what raises."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any


class Stopped(Exception):
    """Why a process ended without a result, as a sentence."""


def run_apart(
    function: Callable[..., Any], given: tuple[Any, ...], time_limit: float, told: Callable[[Any], None]
) -> Any:
    """What `function(tell, *given)` returns in a process of its own, or raises there.

    It calls `tell(doing, news)` as it goes: while `doing` is not empty, the clock runs, from that call on; `told` gets
    each of the news that is not None. Stopped says what it did when it took longer than `time_limit` seconds, or ended
    the process. What it prints goes to the standard error.
    """
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang by itself
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(theirs, function, given))
    process.start()
    theirs.close()
    doing, since = "", time.monotonic()
    try:
        while True:
            if not ours.poll(max(0.0, since + time_limit - time.monotonic()) if doing else None):
                raise Stopped(f"{doing} did not end within {time_limit:g} s, and was stopped")
            kind, *message = ours.recv()
            if kind == "returned":
                return message[0]
            if kind == "raised":
                raise message[0]
            doing, since = message[0], time.monotonic()
            if message[1] is not None:
                told(message[1])
    except EOFError:
        process.join()
        raise Stopped(f"{doing or 'it'} ended the process {_ending(process.exitcode)}") from None
    finally:
        process.kill()
        process.join()
        ours.close()


def _child(pipe: Connection, function: Callable[..., Any], given: tuple[Any, ...]) -> None:
    os.dup2(2, 1)  # the standard output is for the verdict
    try:
        result = function(lambda doing, news=None: pipe.send(("told", doing, news)), *given)
    except Exception as e:
        pipe.send(("raised", e))
    else:
        pipe.send(("returned", result))


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        return f"by signal {signal.Signals(-code).name}"
    return f"with exit status {code}"
