"""What `pip install refnn` brings is enough for the oracle, its reports as text and the conformance suite; what needs
the extra `report` says so in one sentence."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import refnn

ROOT = Path(refnn.__file__).parents[1]
EXTRA = ("jinja2", "matplotlib", "rich", "typer")
BLOCKED = f"import sys; sys.modules.update(dict.fromkeys({EXTRA})); "  # as if importing them failed
WORK = {
    "import": "import refnn",
    "check": (
        "import numpy as np, refnn; report = refnn.check('relu', forward=lambda x: np.maximum(x, 0)); print(report); "
        "assert report.to_markdown() and report.to_findings() and report.to_junit() and report.to_json()"
    ),
    "train": (
        "sys.stderr.isatty = lambda: True; import refnn.networks.train; from refnn.progress import progress\n"
        "for _ in range(2):\n"
        "    with progress(1) as step: step('')"
    ),
    "suite": (
        "import pytest; open('empty.ini', 'w').close(); plugin = ['-p', 'refnn.suite.pytest_plugin']; "
        "options = ['-n', '0', '-q', '-c', 'empty.ini', '--refnn-impl', 'refnn', '--refnn-ops', 'relu,women']; "
        "sys.exit(pytest.main([*plugin, *options, '--pyargs', 'refnn.conformance']))"
    ),
}


def run(code: str, folder: Path, root: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run Python that has nothing of the extra, in an empty folder."""
    words = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(root)!r}); {BLOCKED}{code}"]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize("what", WORK)
def test_it_works_without_the_extra(what: str, tmp_path: Path) -> None:
    done = run(WORK[what], tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    if what == "train":
        sentence = "refnn: the progress bar needs rich, which is not installed: pip install 'refnn[report]'\n"
        assert done.stderr == sentence, "said once"


@pytest.mark.parametrize(
    ("what", "module", "name"),
    [
        ("import", "networks/network.py", "rich"),
        ("check", "checking/check.py", "typer"),
        ("check", "report/markdown.py", "jinja2"),
        ("train", "networks/train.py", "matplotlib"),
        ("suite", "suite/read.py", "rich"),
        ("suite", "suite/pytest_plugin.py", "typer"),
    ],
)
def test_an_import_that_creeps_back_is_noticed(what: str, module: str, name: str, tmp_path: Path) -> None:
    """What works above works no longer where that module of refnn imports that library."""
    shutil.copytree(ROOT / "refnn", tmp_path / "refnn", ignore=shutil.ignore_patterns("__pycache__", "data"))
    (tmp_path / "conformance").symlink_to(Path(refnn.conformance.data("MANIFEST.json")).parent)
    path = tmp_path / "refnn" / module
    future = "from __future__ import annotations\n"
    text = path.read_text(encoding="utf-8")
    assert future in text
    path.write_text(text.replace(future, f"{future}import {name}\n"), encoding="utf-8")
    done = run(WORK[what], tmp_path, tmp_path)
    assert done.returncode != 0
    assert f"import of {name} halted" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import refnn.report as r; r.Report({}).to_html()", "a page needs jinja2"),
        ("from refnn.report.svg import plot; plot({'a': [1.0]})", "a plot needs matplotlib"),
        ("import refnn.cli", "the command line needs typer"),
    ],
)
def test_what_needs_the_extra_says_so(code: str, says: str, tmp_path: Path) -> None:
    done = run(code, tmp_path)
    assert done.returncode == 1
    wanted = f"refnn.refusals.NotInstalled: {says}, which is not installed: pip install 'refnn[report]'"
    assert done.stderr.splitlines()[-1] == wanted


@pytest.mark.parametrize(
    ("words", "installed", "says"),
    [
        (["refnn", "ops"], (), "the command line needs typer"),
        (["refnn", "report"], ("typer", "rich"), "refnn report needs jinja2"),
        (["refnn", "render", "run.jsonl"], ("typer", "rich"), "a page needs jinja2"),
        (["refnn", "limits"], ("typer",), "the table needs rich"),
        (["refnn.teaching.regression", "plot.svg"], (), "a plot needs matplotlib"),
    ],
)
def test_the_commands_say_it_in_a_sentence(
    words: list[str], installed: tuple[str, ...], says: str, tmp_path: Path
) -> None:
    """Typer itself imports rich where it can: it is hidden once the command line is there."""
    (tmp_path / "run.jsonl").write_text(refnn.Report({}).to_json())
    module, *arguments = words
    found = "".join(f"del sys.modules[{n!r}]; " for n in installed)
    if installed:
        found += "import refnn.cli; " + "sys.modules['rich'] = None; " * ("rich" not in installed)
    code = f"{found}import runpy; sys.argv = {['refnn', *arguments]}; runpy.run_module({module!r}, run_name='__main__')"
    done = run(code, tmp_path)
    assert done.returncode == 1
    assert done.stderr == f"refnn: {says}, which is not installed: pip install 'refnn[report]'\n"


def test_the_libraries_of_the_extra_are_those_and_no_others_are_installed_without_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"refnn": "refnn.__main__:main"}
    names = {k: [re.split("[^A-Za-z0-9_-]", d)[0] for d in v] for k, v in project["optional-dependencies"].items()}
    assert sorted(names["report"]) == [*EXTRA]
    core = {re.split("[^A-Za-z0-9_-]", d)[0] for d in project["dependencies"]}
    assert core == {"numpy", "python-flint", "ml_dtypes", "safetensors", "fastjsonschema"}
