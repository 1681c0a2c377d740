"""Programs in any language as implementations: requests on their standard input, answers on their standard output.

The protocol is that of conformance/FORMAT.md, as JSON Lines or as text lines. A program that hangs, ends, floods its
output or answers out of order is killed. The report says so for its case, and the program is started again for the next
case. This works on POSIX only, where `selectors` can watch pipes.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

import numpy as np

from refnn.implementations.protocol import (
    STOP,
    Answer,
    OutOfOrder,
    Request,
    line,
    longest_answer,
    message,
    parse_answer,
    parse_message,
    parse_started,
    read_results,
    run_message,
    start_message,
)
from refnn.judging.call import Misbehaviour, Skipped, with_gradient
from refnn.op import Op

TIMEOUT = 10.0  # seconds for an answer
START_TIMEOUT = 60.0  # seconds until a program has started: an interpreter may have much to import
STDERR = 2000  # bytes of its end that are shown
CHUNK = 1 << 16


class Failed(Exception):
    """What a program did instead of giving an answer."""


class Program:
    """A program. It is started at its first request, and again after each failure.

        with Program("./mynn --fast") as program:
            answer = program.run(request)

    `command` is split into words as by a shell, but no shell interprets it. With `lines` the program reads and writes
    text lines, otherwise JSON Lines. `impl` is what the program says about itself. ValueError says that the command
    cannot be run at all.
    """

    def __init__(self, command: str, suite: str, *, lines: bool = False, timeout: float = TIMEOUT) -> None:
        try:
            self.words = shlex.split(command)
        except ValueError as e:
            raise ValueError(f"the command {command!r} cannot be split into words: {e}") from e
        if not self.words:
            raise ValueError(f"the command {command!r} is empty, expected a program and its arguments")
        self.command, self.suite, self.lines, self.timeout = command, suite, lines, timeout
        self.impl: Mapping[str, Any] = {"name": " ".join(map(os.path.basename, self.words))}
        self.capabilities: Mapping[str, Any] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._seq = 0

    def __enter__(self) -> Program:
        """Start the program, so that one that cannot be run is known at once."""
        try:
            self._start()
        except Failed as e:
            raise ValueError(f"the program {self.command!r} {e}") from e
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- asking ------------------------------------------------------------------------------------------------------

    def skips(self, r: Request) -> str | None:
        """Why a request is beyond the capabilities that the program states, or None."""
        ops, dtypes = self.capabilities.get("ops"), self.capabilities.get("dtypes")
        most = self.capabilities.get("max_elements")
        if ops is not None and "fwd" not in ops.get(r.op, ()):
            return f"the program has no {r.op}"
        if dtypes is not None and r.dtype not in dtypes:
            return f"the program has no {r.dtype}"
        if most is not None and r.largest > most:
            return f"the program takes at most {most} elements, the case has {r.largest}"
        return None

    def forward_only(self, op: str) -> bool:
        """Whether the program states that it has no gradients of an op."""
        ops = self.capabilities.get("ops")
        return ops is not None and "vjp" not in ops.get(op, ())

    def run(self, r: Request) -> Answer:
        """The answer to a request, or what went wrong. ValueError says that the program cannot be run at all."""
        if self._process is None:
            try:
                self._start()
            except Failed as e:
                return Answer(errors=(f"the program {e}",))
        if (why := self.skips(r)) is not None:
            return Answer(skip=why)
        self._seq += 1
        asked = line(r) if self.lines else message(run_message(r, self._seq))
        try:
            return self._read(r, self._exchange(asked, longest_answer(r), self.timeout))
        except (Failed, OutOfOrder) as e:
            what = str(e)
        except ValueError as e:
            what = f"gave an answer that cannot be read: {e}"
        return Answer(errors=(f"the program {what}{self._kill()}; it is started again for the next case",))

    def _read(self, r: Request, text: str) -> Answer:
        if not self.lines:
            return parse_message(text, r, self._seq)
        name, bits, skip, error = parse_answer(text)
        if name != r.id:
            raise OutOfOrder(f"answered {name[:100]!r} when it was asked for {r.id!r}: out of order")
        if skip is not None:
            return Answer(skip=skip)
        return read_results(r, bits) if error is None else Answer(errors=(error,))

    def functions(self, op: Op) -> tuple[Callable[..., Any], Callable[..., Any] | None]:
        """The program's forward and vjp of an op, as functions of NumPy arrays."""

        def ask(inputs: tuple[Any, ...], params: Mapping[str, Any], g: np.ndarray, wants: list[str]) -> Answer:
            arrays = dict(zip(op.inputs, (*inputs, *[None] * (len(op.inputs) - len(inputs))), strict=True))
            name = f"{op.name}/{g.dtype.name}/check/{self._seq}"
            answer = self.run(Request(name, op.name, g.dtype.name, params, arrays, g, tuple(wants)))
            if answer.skip is not None:
                raise Skipped(answer.skip)
            if answer.errors:
                raise Misbehaviour(answer.errors[0])
            return answer

        def forward(*inputs: Any, **params: Any) -> np.ndarray:
            shape = np.shape(op(*inputs, **params))
            g = np.zeros(shape, op.dtype_of(inputs))
            return ask(inputs, params, g, ["y"]).results["y"]

        def vjp(g: np.ndarray, *inputs: Any, **params: Any) -> tuple[np.ndarray | None, ...]:
            wants = [f"d/{n}" for n, w in zip(op.inputs, with_gradient(op, inputs), strict=True) if w]
            results = ask(inputs, params, g, wants).results
            return tuple(results.get(f"d/{n}") for n in op.inputs)

        if self._process is None:
            self.__enter__()
        return forward, None if self.forward_only(op.name) else vjp

    # --- the process -------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        self._out, self._err = b"", b""
        try:
            self._process = subprocess.Popen(
                self.words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as e:
            raise ValueError(f"the program {self.words[0]!r} cannot be run: {e.strerror}") from e
        for pipe in self._pipes():
            os.set_blocking(pipe.fileno(), False)
        if self.lines:
            return
        try:
            said = parse_started(self._exchange(message(start_message(self.suite)), CHUNK, START_TIMEOUT))
        except (Failed, ValueError) as e:
            hint = f"; for a program of text lines write lines:{self.command}" if isinstance(e, ValueError) else ""
            raise Failed(f"did not start: {e}{self._kill()}{hint}") from e
        self.impl, self.capabilities = said["impl"], said.get("capabilities", {})

    def _pipes(self) -> tuple[Any, Any, Any]:
        assert self._process is not None
        return self._process.stdin, self._process.stdout, self._process.stderr

    def _exchange(self, asked: str, limit: int, seconds: float) -> str:
        """Send one line and return the next one. Both pipes are watched at once, because a program that does not read
        may be waiting for its own output to be read."""
        stdin, stdout, stderr = self._pipes()
        if (early := self._line()) is not None:
            raise Failed(f"wrote {early[:60]!r} before the request was sent")
        left = memoryview((asked + "\n").encode())
        deadline = time.monotonic() + seconds
        with selectors.DefaultSelector() as watched:
            watched.register(stdin, selectors.EVENT_WRITE)
            watched.register(stdout, selectors.EVENT_READ)
            watched.register(stderr, selectors.EVENT_READ)
            while (found := self._line()) is None:
                if len(self._out) > limit:
                    raise Failed(f"flooded its output: more than {limit} bytes where one answer was expected")
                ready = watched.select(max(0.0, deadline - time.monotonic()))
                if time.monotonic() >= deadline:
                    raise Failed(f"did not answer within {seconds:g} s and was killed")
                for key, _ in ready:
                    if key.fileobj is stdin:
                        left = self._send(key.fd, left)
                        if not left:
                            watched.unregister(stdin)
                    elif key.fileobj is stderr:
                        if not self._keep_stderr(key.fd):
                            watched.unregister(stderr)
                    elif more := self._drain(key.fd):
                        self._out += more
                    else:
                        raise Failed(self._ended())
        return found

    def _line(self) -> str | None:
        """The next line of output, if it is complete. Comments, which a program may copy, are dropped."""
        while b"\n" in self._out:
            first, _, self._out = self._out.partition(b"\n")
            if not (self.lines and first.startswith(b"#")):
                return first.decode("utf-8", "replace").rstrip("\r")
        return None

    @staticmethod
    def _send(descriptor: int, left: memoryview) -> memoryview:
        """Send what the pipe takes; the rest."""
        try:
            return left[os.write(descriptor, left[:CHUNK]) :]
        except BlockingIOError:
            return left
        except BrokenPipeError:
            return left[:0]  # it does not read any more; its output, or its end, says why

    def _keep_stderr(self, descriptor: int) -> bool:
        """Keep the end of standard error. False at its end."""
        more = self._drain(descriptor)
        self._err = (self._err + more)[-STDERR:]
        return bool(more)

    @staticmethod
    def _drain(descriptor: int) -> bytes:
        try:
            return os.read(descriptor, CHUNK)
        except BlockingIOError:
            return b""

    def _ended(self) -> str:
        assert self._process is not None
        try:
            code = self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            return "closed its output before it answered"
        if code < 0:
            return f"was ended by {signal.Signals(-code).name} before it answered"
        return f"ended with exit status {code} before it answered"

    def _kill(self) -> str:
        """End the program and all that it started. The text quotes the end of its standard error."""
        if self._process is None:
            return ""
        process, self._process = self._process, None
        stdin, stdout, stderr = process.stdin, process.stdout, process.stderr
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert stdin is not None and stdout is not None and stderr is not None
        while self._keep_stderr(stderr.fileno()):
            pass
        for pipe in (stdin, stdout, stderr):
            with contextlib.suppress(OSError):
                pipe.close()
        said = self._err.decode("utf-8", "replace").strip()
        return f" (its standard error ends: {said})" if said else ""

    def close(self) -> None:
        """Ask the program to stop, and kill it if it does not."""
        if self._process is None:
            return
        stdin, _, _ = self._pipes()
        with contextlib.suppress(OSError):
            if not self.lines:
                os.write(stdin.fileno(), (message(STOP) + "\n").encode())
            stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=min(self.timeout, 2.0))
        self._kill()
