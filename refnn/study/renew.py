"""Everything that is generated, and how: a product is some files of the checkout and the commands that write them.

The commands run in a folder of their own, in which only what they read beside them lies, and what they have written is
moved into the checkout when all of them are through. So an interruption leaves whole files, the old ones or the new.
Products that others are made of come first.
"""

from __future__ import annotations

import filecmp
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LONG = "takes more than ten minutes"
DIFFERS = 2  # the exit status of a command that found what does not conform, and wrote it down


@dataclass(frozen=True)
class Product:
    """Files of the checkout, as patterns, and the commands that write them, at the same places in `folder`.

    `reads` are files that the commands expect beside those. `prints` names the file that is what they print. `of_ops`
    are commands that make the part of some ops alone, from the files as they are. `apart` says why the product is made
    only if it is named. In commands {ops} is a pattern of names of ops; {torch} is PyTorch's version in files, too.
    """

    name: str
    files: tuple[str, ...]
    commands: tuple[str, ...]
    reads: tuple[str, ...] = ()
    folder: str = "."
    prints: str = ""
    of_ops: tuple[str, ...] = ()
    apart: str = ""


def _report(impl: str, name: str, options: str = "") -> tuple[str, ...]:
    """The commands that verify an implementation by the fixtures and write its report in two forms."""
    forms = (f"refnn render {name}.jsonl --to {form}" for form in ("md", "badge"))
    return f"refnn verify {impl} {options}--out {name}.jsonl", *forms


PRODUCTS = (
    Product(
        "fixtures",
        (
            "conformance/MANIFEST.json",
            "conformance/ops/*/*.json",
            "conformance/networks/*/cases.json",
            "conformance/c/network_case.h",
        ),
        ("refnn gen --all --out conformance",),
        reads=("conformance/networks/*/network.json", "conformance/networks/*/*.safetensors"),
        of_ops=("refnn gen {ops} --out conformance",),
    ),
    Product(
        "support",
        ("conformance/support.md",),
        ("python -m refnn.study.support conformance/support.md",),
    ),
    Product(
        "torch-limits",
        ("conformance/limits/torch-{torch}-cpu.json",),
        (
            "refnn limits --against torch --json --format float16 --format bfloat16 --format float32 "
            "--format float32-ftz --format float64 --format float64-ftz",
        ),
        prints="conformance/limits/torch-{torch}-cpu.json",
        apart="differs from processor to processor",
    ),
    Product(
        "limits",
        ("conformance/limits/README.md", "conformance/limits/softmaxes.svg", "conformance/limits/*float*.json"),
        ("python -m refnn.study.limits conformance/limits",),
    ),
    Product(
        "derivations", ("derivations/ERRATA.md", "derivations/CONVENTIONS.md"), ("python -m derivations derivations",)
    ),
    Product(
        "reports",
        ("conformance/reports/*.md", "conformance/reports/*.json"),
        (
            *_report("torch", "torch-{torch}-cpu"),
            *_report("refnn", "refnn-float32", "--dtype float32 "),
            *_report("refnn", "refnn-float64", "--dtype float64 "),
        ),
        folder="conformance/reports",
    ),
    Product(
        "findings",
        ("conformance/pytorch-{torch}-cpu.md",),
        (
            "refnn report --out report",
            "refnn render report/report.jsonl --to findings --out conformance/pytorch-{torch}-cpu.md",
        ),
    ),
    *(
        Product(
            f"{name}-findings",
            (f"conformance/{name}-*-cpu.md",),
            (
                f"refnn report --framework {name} --ops '{ops}' --out report",
                f"refnn render report/report.jsonl --to findings --out conformance/{name}-{version}-cpu.md",
            ),
            apart=f"needs refnn[{name}], version {version}",
        )
        for name, version, ops in (
            ("autograd", "1.9.1", "*"),
            ("onnxruntime", "1.32.0", "*"),
            ("jax", "0.10.2", "[eghlmrst]*"),  # without convolutions, which XLA takes hours to compile for every shape
        )
    ),
    Product(
        "tightness",
        ("conformance/tightness.md",),
        ("python -m refnn.study.tightness --out conformance/tightness.md",),
        of_ops=("python -m refnn.study.tightness --out conformance/tightness.md --ops {ops}",),
        apart=LONG,
    ),
    Product(
        "calibration",
        ("conformance/calibration.md",),
        ("python -m refnn.study.calibration --out conformance/calibration.md",),
        apart=LONG,
    ),
    Product(
        "alarms",
        ("conformance/power/alarms.md",),
        ("python -m refnn.study.power.alarms conformance/power/alarms.md",),
        apart=LONG,
    ),
    Product(
        "evasions",
        ("conformance/power/evasions.md",),
        ("refnn power --evasions",),
        prints="conformance/power/evasions.md",
    ),
    Product("power", ("conformance/power/last.md",), ("refnn power",), prints="conformance/power/last.md", apart=LONG),
    Product(
        "summary",
        ("README.md", "conformance/power/README.md"),
        ("python -m refnn.study.power.summary .",),
        reads=("README.md", "conformance/power/*.md"),
    ),
    Product(
        "benchmarks",
        ("benchmarks/RESULTS.md",),
        ("python {root}/benchmarks/renew.py --out benchmarks/RESULTS.md",),
        apart=LONG,
    ),
    Product(
        "sensitivity",
        ("benchmarks/SENSITIVITY.md",),
        ("python {root}/benchmarks/sensitivity.py",),
        prints="benchmarks/SENSITIVITY.md",
        apart=LONG,
    ),
    Product(
        "hipdnn",
        ("benchmarks/HIPDNN.md",),
        ("python {root}/benchmarks/hipdnn.py",),
        prints="benchmarks/HIPDNN.md",
        apart=LONG,
    ),
)


def chosen(names: Sequence[str] = (), *, every: bool = False, some_ops: bool = False) -> list[Product]:
    """The products of these names. Without names all but those that stand apart; or every one. What takes long of all
    ops is no longer apart for some. LookupError for a name that there is not."""
    known = [p.name for p in PRODUCTS]
    if unknown := [n for n in names if n not in known]:
        raise LookupError(f"{unknown[0]!r} is not generated, expected some of {', '.join(known)}")
    return [
        p for p in PRODUCTS if (p.name in names if names else every or not p.apart or (some_ops and p.of_ops != ()))
    ]


def is_checkout(root: Path = ROOT) -> bool:
    """Whether refnn is run from a checkout, which has what is generated."""
    return (root / "pyproject.toml").is_file() and (root / "conformance" / "MANIFEST.json").is_file()


def renew(product: Product, ops: str = "", root: Path = ROOT) -> tuple[dict[str, str], list[str]]:
    """Make a product again, of the ops of a pattern alone where it can be: what became of each of its files that is not
    as it was ("changed", "added", "removed"), and the commands that found what does not conform.

    RuntimeError where a command fails, with nothing moved; LookupError where PyTorch is needed and not installed.
    """
    words = _words(product, ops, root)
    files = [pattern.format_map(words) for pattern in product.files]
    part = bool(ops) and product.of_ops != ()
    with tempfile.TemporaryDirectory(prefix=".renew-", dir=root) as name:
        folder = Path(name)
        for path in _found(root, [*product.reads, *(files if part else ())]):
            _copy(root / path, folder / path)
        for place in (product.folder, *(str(Path(f).parent) for f in files)):
            if "*" not in place:
                (folder / place).mkdir(parents=True, exist_ok=True)
        commands = [c.format_map(words) for c in (product.of_ops if part else product.commands)]
        prints = folder / product.prints.format_map(words) if product.prints else Path(os.devnull)
        differ = [c for c in commands if _run(c, folder / product.folder, prints, root)]
        return _move(folder, root, files), differ


def _words(product: Product, ops: str, root: Path) -> Mapping[str, str]:
    """What stands for the words in braces in files and commands."""
    words = {"ops": shlex.quote(ops), "root": shlex.quote(str(root))}
    if any("{torch}" in text for text in (*product.files, *product.commands)):
        try:
            words["torch"] = version("torch").partition("+")[0]
        except PackageNotFoundError:
            raise LookupError(f"{product.name}: PyTorch is not installed, which it is about") from None
    return words


def _found(root: Path, patterns: Sequence[str]) -> Iterator[Path]:
    for pattern in patterns:
        yield from (path.relative_to(root) for path in sorted(root.glob(pattern)) if path.is_file())


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _run(command: str, folder: Path, prints: Path, root: Path) -> bool:
    """Run a command in a folder; whether it found what does not conform. What it says on standard error is seen."""
    program, *arguments = shlex.split(command)
    python = [sys.executable, *(["-m", "refnn"] if program == "refnn" else [])]
    path = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH", "")]))
    with prints.open("w", encoding="utf-8") as out:
        done = subprocess.run([*python, *arguments], cwd=folder, stdout=out, env={**os.environ, "PYTHONPATH": path})
    if done.returncode not in (0, DIFFERS):
        raise RuntimeError(f"{command!r} ended with exit status {done.returncode}: nothing was changed")
    return done.returncode == DIFFERS


def _move(folder: Path, root: Path, files: Sequence[str]) -> dict[str, str]:
    """Move the files of these patterns into the checkout, and remove those that are no longer made."""
    made, became = list(_found(folder, files)), {}
    for path in made:
        if not (root / path).exists():
            became[path] = "added"
        elif not filecmp.cmp(folder / path, root / path, shallow=False):
            became[path] = "changed"
    for path in became:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        os.replace(folder / path, root / path)
    for path in {*_found(root, files)} - {*made}:
        (root / path).unlink()
        if not any((root / path).parent.iterdir()):
            (root / path).parent.rmdir()
        became[path] = "removed"
    return {path.as_posix(): became[path] for path in sorted(became)}
