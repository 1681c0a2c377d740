"""The shape of the house: which way imports go, what an op module may hold, what the core must not import."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import refnn
from refnn._moved import MOVED
from refnn.ops import OPS

ROOT = Path(refnn.__file__).parent
MODULES = sorted(p.relative_to(ROOT) for p in ROOT.rglob("*.py"))
OP_FILES = sorted(p for p in (ROOT / "ops").glob("*.py") if p.name != "__init__.py")

# The wings of the house, a line each: what stands in one imports only from its own line and from those above it.
ORDER = (
    ("formats", "models", "refusals", "ids", "progress", "conformance"),  # the vocabulary
    ("wire",),
    ("arithmetic",),
    ("variants", "op", "ops", "_moved"),
    ("oracle",),
    ("networks",),
    ("report",),
    ("judging",),
    ("limits",),
    ("implementations",),
    ("witnesses",),
    ("checking",),
    ("suite",),
    ("__init__",),
    ("study", "teaching"),
    ("cli", "__main__"),
)
RANK = {name: i for i, names in enumerate(ORDER) for name in names}
HEAVY = {
    "torch": {"implementations", "study", "witnesses"},
    "sympy": {"arithmetic", "witnesses"},
    **{name: {"implementations"} for name in ("autograd", "jax", "onnx", "onnxruntime")},
}


def layer(module: Path) -> str:
    if module.name.startswith("test_"):
        return "suite"  # the conformance suite, which stands beside what finds its data
    return module.parts[0].removesuffix(".py")


def imports(tree: ast.AST) -> Iterator[str]:
    """The modules of all imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                yield f"{node.module}.{alias.name}" if node.module == "refnn" else node.module
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name


def test_the_changelog_names_every_module_that_moved() -> None:
    text = (ROOT.parent / "CHANGELOG.md").read_text()
    rows = dict(re.findall(r"^\| `refnn\.(\w+)` \| `refnn\.([\w.]+)` \|$", text, re.MULTILINE))
    assert rows == dict(MOVED)


def test_every_module_has_a_layer() -> None:
    assert len(MODULES) > 30
    assert {layer(m) for m in MODULES} == set(RANK)


def test_the_page_on_the_architecture_has_the_wings_in_their_order() -> None:
    """ARCHITECTURE.md begins with ORDER as a table. The files that it names exist, and so do the functions in them."""
    page = (ROOT.parent / "ARCHITECTURE.md").read_text()
    first, *_ = page.split("\n## ")
    wings = [re.findall(r"`(\w+)`", line.split("|")[1]) for line in first.splitlines() if line.startswith("| `")]
    assert wings == [list(names) for names in ORDER]
    for path in re.findall(r"`((?:refnn|tests|derivations|conformance)/[\w./]*)`", page):
        assert (ROOT.parent / path).exists(), path
    for name, path in re.findall(r"`(\w+)`\s\(`([\w./]+)`\)", page):
        assert re.search(rf"^(def|class) {name}\b", (ROOT.parent / path).read_text(), re.MULTILINE), (name, path)


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_imports_go_one_way(module: Path) -> None:
    """Imports inside functions, too: one that goes back would hide a circle."""
    for name in imports(ast.parse((ROOT / module).read_text())):
        parts = name.split(".")
        if parts[0] != "refnn" or len(parts) < 2 or parts[1] not in RANK:
            continue
        assert RANK[parts[1]] <= RANK[layer(module)], f"{module} imports {name}, which comes later"


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_frameworks_are_imported_where_they_belong(module: Path) -> None:
    for name in imports(ast.parse((ROOT / module).read_text())):
        allowed = HEAVY.get(name.split(".")[0])
        assert allowed is None or layer(module) in allowed, f"{module} imports {name}"


@pytest.mark.parametrize("path", OP_FILES, ids=lambda p: p.name)
def test_op_modules_hold_mathematics_only(path: Path) -> None:
    """No NumPy, no float literals in a definition, no comparison of computed values, no free-order chain."""
    tree = ast.parse(path.read_text())
    assert all(
        name.split(".")[0] in ("refnn", "collections", "dataclasses", "fractions", "math", "typing", "__future__")
        for name in imports(tree)
    )
    for function in (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)):
        if not function.args.args or function.args.args[0].arg != "ar":
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Constant) and node not in _defaults(function):
                assert not isinstance(node.value, float), f"{path.name}:{node.lineno} has a float literal"
            if isinstance(node, ast.Compare):
                assert not any(
                    isinstance(op, (ast.Lt, ast.Gt, ast.LtE, ast.GtE)) and _on_arrays(node) for op in node.ops
                )
            if isinstance(node, ast.BinOp):
                for kind in ((ast.Mult, ast.Div), (ast.Add, ast.Sub)):
                    if isinstance(node.op, kind):
                        chained = [
                            s for s in (node.left, node.right) if isinstance(s, ast.BinOp) and isinstance(s.op, kind)
                        ]
                        assert not chained, f"{path.name}:{node.lineno} chains operators whose order is free"


def _defaults(function: ast.FunctionDef) -> set[ast.AST]:
    return {n for d in (*function.args.defaults, *function.args.kw_defaults) if d is not None for n in ast.walk(d)}


def _on_arrays(node: ast.Compare) -> bool:
    """Comparisons of an array's rank or size are about shapes, not about computed values."""
    text = ast.unparse(node)
    return not any(word in text for word in (".ndim", ".shape", ".size", "len("))


@pytest.mark.parametrize("path", [p for p in OP_FILES if not p.name.startswith("_")], ids=lambda p: p.name)
def test_op_modules_look_alike(path: Path) -> None:
    """A docstring with a formula, forward, vjp (its own, or its family's), and one record of its name at the end."""
    tree = ast.parse(path.read_text())
    doc = ast.get_docstring(tree) or ""
    assert "    " in doc and "=" in doc, "the docstring shows the formula"
    functions = {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}
    family = [name for name in imports(tree) if name == "refnn.ops"]
    assert {"forward", "vjp"} <= functions or family
    last = tree.body[-1]
    assert isinstance(last, ast.Assign) and ast.unparse(last.targets[0]) == path.stem
    assert OPS[path.stem].name == path.stem


CITED = re.compile(r"(challa2023|challa2022|you2022|cnnmath|katsaros)((?:,? \([^)]+\))*)")


@pytest.mark.parametrize("op", OPS.values(), ids=list(OPS))
def test_the_equations_of_a_record_are_those_that_its_module_cites(op: refnn.Op) -> None:
    """Or the module of its family, where its own cites none."""
    modules = sys.modules[f"refnn.ops.{op.name}"], inspect.getmodule(op.forward_definition)
    cited = next(filter(None, (CITED.findall(inspect.getdoc(m) or "") for m in modules)), [])
    found = [f"{key} {n}".strip() for key, numbers in cited for n in re.findall(r"\([^)]+\)", numbers) or [""]]
    assert list(op.equations) == list(dict.fromkeys(found))


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_a_file_has_fewer_than_500_lines_or_says_why(module: Path) -> None:
    text = (ROOT / module).read_text()
    assert text.count("\n") < 500 or "500 lines" in " ".join((ast.get_docstring(ast.parse(text)) or "").split())


def test_an_op_has_at_most_thirteen_fields() -> None:
    """Ten say what an op is; `summed` is what the evaluator of large losses would have to guess, `equations` the
    sources, `usual` the shapes and parameters of real networks, which witnesses need not follow."""
    assert len(dataclasses.fields(refnn.Op)) <= 13


PARAMETERS = {name for op in OPS.values() for name in op.defaults} - {"groups", "p", "value"}  # words of their own, too
CORE = ("arithmetic", "checking", "formats", "judging", "models", "op", "oracle", "suite")


@pytest.mark.parametrize("module", [m for m in MODULES if layer(m) in CORE], ids=str)
def test_the_core_knows_no_parameter_of_an_op(module: Path) -> None:
    """What depends on a parameter stands on the record: an op of one's own may call it anything."""
    for node in ast.walk(ast.parse((ROOT / module).read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert node.value not in PARAMETERS, f"{module}:{node.lineno} knows the parameter {node.value!r}"


def test_the_public_names_exist() -> None:
    assert all(hasattr(refnn, name) for name in refnn.__all__)
    assert list(refnn.ops) == sorted(refnn.ops) and len(refnn.ops) >= 9


def test_no_tolerance_is_typed_by_hand() -> None:
    """The words of hand-typed tolerances stand nowhere in the package."""
    words = ("rtol", "atol", "allclose", "isclose", "approx(")
    for module in MODULES:
        text = (ROOT / module).read_text()
        for word in words:
            assert word not in text, f"{module} holds {word!r}"


def _numbers(entry: Any) -> Iterator[float]:
    """The numbers in nested lists."""
    if isinstance(entry, list):
        for part in entry:
            yield from _numbers(part)
    elif entry is not None:
        yield float(entry)


def unwritten(op: refnn.Op) -> list[str]:
    """What an op's table of special values says nothing about: every input of real numbers has a row in which one of
    its elements is NaN and one for either infinity. Where the rows are single numbers, whose signs are told apart, so
    are both zeros. Other inputs hold no such values."""
    alone = any(not any(isinstance(v, list) for v in row.inputs) for row in op.special)
    wanted = [float(v) for v in ("nan", "inf", "-inf", *(("0.0", "-0.0") if alone or not op.special else ()))]
    found = []
    for place, (name, declared) in enumerate(op.inputs.items()):
        if declared.kind == "real":
            seen = {repr(v) for row in op.special for v in _numbers(row.inputs[place])}
            found += [f"{name}={v!r}" for v in wanted if repr(v) not in seen]
    return found


@pytest.mark.parametrize("name", OPS)
def test_the_table_of_special_values_covers_every_real_input(name: str) -> None:
    assert OPS[name].special
    assert not unwritten(OPS[name])


def test_a_missing_row_is_noticed() -> None:
    op = OPS["relu"]
    rows = tuple(row for row in op.special if row.inputs != (-float("inf"),))
    assert unwritten(dataclasses.replace(op, special=rows)) == ["x=-inf"]
    assert unwritten(dataclasses.replace(op, special=())) == ["x=nan", "x=inf", "x=-inf", "x=0.0", "x=-0.0"]


@pytest.mark.xdist_group("structure")
def test_a_group_of_tests_is_one_for_xdist(request: pytest.FixtureRequest) -> None:
    """Which reads it from the ids. Nothing else would show that it is ignored but the time."""
    if not hasattr(request.config, "workerinput"):
        pytest.skip("there is one process")
    assert request.node.nodeid.endswith("@structure")
