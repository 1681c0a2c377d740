"""`refnn renew`: it knows all that is generated, moves what is complete, and says what became of each file."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from refnn import cli
from refnn.study import renew as study
from refnn.study.renew import PRODUCTS, ROOT, Product, chosen, renew

CODE = (
    "import pathlib; pathlib.Path('made').mkdir(exist_ok=True); [pathlib.Path('made', n).write_text('{}') for n in {}]"
)


def making(text: str, *names: str) -> str:
    """A command that writes files."""
    return f'python -c "{CODE.format(text, [*names])}"'


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "made").mkdir()
    for name in ("same", "old", "gone"):
        (tmp_path / "made" / name).write_text("new" if name == "same" else "old")
    return tmp_path


def held(root: Path) -> dict[str, str]:
    """All files below a folder."""
    return {p.relative_to(root).as_posix(): p.read_text() for p in root.rglob("*") if p.is_file()}


def test_what_became_of_each_file(root: Path) -> None:
    product = Product("it", ("made/*",), (making("new", "same", "old", "fresh"),))
    became, differ = renew(product, root=root)
    assert became == {"made/fresh": "added", "made/gone": "removed", "made/old": "changed"}
    assert held(root) == {"made/fresh": "new", "made/old": "new", "made/same": "new"} and not differ
    assert renew(product, root=root) == ({}, [])


def test_a_part_is_made_from_the_files_as_they_are(root: Path) -> None:
    product = Product("it", ("made/*",), ("python -c 1/0",), of_ops=(making("new", "{ops}"),))
    assert renew(product, "some", root)[0] == {"made/some": "added"}
    assert held(root)["made/old"] == "old"


def test_only_what_is_read_lies_beside(root: Path) -> None:
    (root / "made" / "read").write_text("3")
    show = "import os; print(sorted(os.listdir('made')), open('made/read').read())"
    product = Product("it", ("printed",), (f'python -c "{show}"',), reads=("made/r*",), prints="printed")
    assert renew(product, root=root)[0] == {"printed": "added"}
    assert (root / "printed").read_text() == "['read'] 3\n"


@pytest.mark.parametrize("status", [1, 3])
def test_a_command_that_fails_moves_nothing(root: Path, status: int, capfd: pytest.CaptureFixture[str]) -> None:
    before = held(root)
    product = Product("it", ("made/*",), (making("new", "old"), f'python -c "import sys; sys.exit({status})"'))
    with pytest.raises(RuntimeError, match=f"ended with exit status {status}: nothing was changed"):
        renew(product, root=root)
    assert held(root) == before


def test_what_does_not_conform_is_written_and_told(root: Path) -> None:
    product = Product("it", ("made/*",), (making("new", "old"), 'python -c "import sys; sys.exit(2)"'))
    became, differ = renew(product, root=root)
    assert became["made/old"] == "changed" and differ == [product.commands[1]]


INTERRUPTED = """
import signal, sys
from pathlib import Path
from refnn.study.renew import Product, renew
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a job in the background would ignore
renew(Product("it", ("made/*",), ("python {root}/slow.py",)), root=Path(sys.argv[1]))
"""
SLOW = """
import os, time
os.makedirs("made", exist_ok=True)
open("made/old", "w").write("n")
time.sleep(60)
"""


def test_an_interruption_leaves_the_files_as_they_were(root: Path) -> None:
    """Of a command that has written a part of its files."""
    (root / "slow.py").write_text(SLOW)
    before, command = held(root), [sys.executable, "-c", INTERRUPTED, str(root)]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True)
    until = time.monotonic() + 60
    while not any(root.glob(".renew-*/made/old")) and time.monotonic() < until:
        time.sleep(0.1)
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does
    assert b"KeyboardInterrupt" in running.communicate(timeout=60)[1]
    assert held(root) == before


# --- what there is ---------------------------------------------------------------------------------------------------


def test_every_product_is_committed() -> None:
    for product in PRODUCTS:
        for pattern in product.files:
            assert any(ROOT.glob(pattern.replace("{torch}", "*"))), f"{product.name} has no {pattern}"


def test_every_page_that_names_its_command_is_a_product() -> None:
    made = {path for p in PRODUCTS for f in p.files for path in ROOT.glob(f.replace("{torch}", "*"))}
    pages = [p for folder in ("conformance", "derivations", "benchmarks") for p in (ROOT / folder).rglob("*.md")]
    written = {p for p in pages if re.search(r"\b([Ww]ritten|Generated) by\s+`py|writes this page", p.read_text())}
    assert len(written) >= 8 and not written - made


def test_names_select_and_without_them_what_takes_long_is_left_out() -> None:
    assert [p.name for p in chosen(["limits", "support"])] == ["support", "limits"]  # in the order of what needs what
    quick = {p.name for p in chosen()}
    assert quick == {"fixtures", "support", "limits", "derivations", "reports", "findings", "evasions", "summary"}
    assert {p.name for p in chosen(some_ops=True)} == quick | {"tightness"}
    assert chosen(every=True) == list(PRODUCTS)


def test_the_command_says_what_changed_and_what_it_left_out(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = Product("quick", ("made/*",), (making("new", "same", "old"),))
    monkeypatch.setattr(study, "PRODUCTS", (quick, replace(quick, name="slow", apart=study.LONG)))
    monkeypatch.setattr(study.renew, "__defaults__", ("", root))
    assert cli.main(["renew"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "quick: 1 removed, 1 changed",
        "  removed made/gone",
        "  changed made/old",
        "slow: left out, for it takes more than ten minutes",
    ]
    assert cli.main(["renew", "quick"]) == 0
    assert capsys.readouterr().out == "quick: as it was\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["page"], "'page' is not generated, expected some of fixtures, support, "),
        (["support", "--ops", "softmix"], "--ops 'softmix' matches no op: nothing was made"),
    ],
)
def test_a_mistake_gets_a_sentence(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["renew", *arguments]) == 1
    assert capsys.readouterr().err.startswith(f"refnn: {says}")


def test_without_a_checkout_there_is_nothing_to_renew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(study, "ROOT", tmp_path)
    monkeypatch.setattr(study.is_checkout, "__defaults__", (tmp_path,))
    assert cli.main(["renew"]) == 1
    assert capsys.readouterr().err == f"refnn: renew works in a checkout of refnn, and {str(tmp_path)!r} is none\n"
