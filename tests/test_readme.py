"""What the README shows is true: its Python runs, its commands are those of CI."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_the_python_runs(block: str) -> None:
    exec(compile(block, "README.md", "exec"), {})


def test_there_is_python_to_run() -> None:
    assert len(BLOCKS) >= 3


def test_the_set_up_commands_stand_there_word_for_word() -> None:
    assert "    python -m pip install -c constraints.txt '.[torch]' && refnn report\n" in README
    assert "    python -m pip install -c constraints.txt -e '.[test]' && python -m pytest\n" in README


def test_the_files_it_names_exist() -> None:
    for path in re.findall(r"`((?:conformance|benchmarks|refnn)/[\w./-]+)`", README):
        assert (ROOT / path).exists(), path
