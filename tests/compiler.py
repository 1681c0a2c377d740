"""The C compiler of the tests, and whether it has the sanitizers."""

from __future__ import annotations

import functools
import shutil
import subprocess
import tempfile
from pathlib import Path

CC = shutil.which("gcc") or shutil.which("cc")
SANITIZE = "-fsanitize=address,undefined"


@functools.cache
def without_sanitizers(cc: str) -> str:
    """Why no program runs under its sanitizers here, as a sentence; empty where one does."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "nothing.c"
        source.write_text("int main(void) { return 0; }\n")
        for command in ([cc, SANITIZE, str(source), "-o", f"{folder}/nothing"], [f"{folder}/nothing"]):
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode != 0:
                said = (done.stderr.strip() or f"it ended with {done.returncode}").splitlines()[-1]
                return f"{Path(cc).name} has no address and undefined-behaviour sanitizers here: {said}"
    return ""
