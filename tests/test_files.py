"""Saved networks: what was changed, is newer, or is none is refused in one sentence that names the file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from refnn.networks import files
from refnn.networks.network import Network, Node, fixtures


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A saved network."""
    nodes = [
        Node("conv", "conv1d", ("x", "conv.weight"), {"padding": ((1, 0),)}),
        Node("act", "elu", ("conv",), {"alpha": 0.1}),
    ]
    weights = {
        "initial": {"conv.weight": np.array([[[1.5, -0.1]]], np.float32)},
        "other": {"conv.weight": np.ones((1, 1, 2))},
    }
    Network(nodes, name="small", weights=weights, shapes={"x": (1, 4)}, about={"seed": 7}).save(tmp_path / "small")
    return tmp_path / "small"


def test_what_is_loaded_is_what_was_saved(folder: Path, tmp_path: Path) -> None:
    net = Network.load(folder)
    assert net.nodes[0] == Node("conv", "conv1d", ("x", "conv.weight"), {"padding": ((1, 0),)})
    assert (net.name, net.inputs, net.shapes, net.about) == ("small", ("x",), {"x": (1, 4)}, {"seed": 7})
    assert list(net.weights) == ["initial", "other"]
    assert net.weights["initial"]["conv.weight"].dtype == np.float32
    assert net.weights["initial"]["conv.weight"].tolist() == [[[1.5, np.float32(-0.1)]]]
    net.save(tmp_path / "again")
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()


@pytest.mark.parametrize("name", fixtures())
def test_every_fixture_is_as_it_was_saved(name: str, tmp_path: Path) -> None:
    Network.load(name).save(tmp_path / name)
    here = Path(files.__file__).parents[2] / "conformance" / "networks" / name
    stored = {p.name for p in here.iterdir()} - {"cases.json"}  # which `refnn gen --all` writes
    assert stored == {p.name for p in (tmp_path / name).iterdir()}
    assert all((tmp_path / name / file).read_bytes() == (here / file).read_bytes() for file in stored)


def rewritten(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    """The document changed by someone who brings its SHA-256 up to date."""

    def rewrite(folder: Path) -> None:
        document = json.loads((folder / files.NAME).read_text())
        change(document)
        document["sha256"] = files.digest(document)
        (folder / files.NAME).write_text(json.dumps(document))

    return rewrite


def replaced(name: str, old: bytes, new: bytes) -> Callable[[Path], None]:
    def replace(folder: Path) -> None:
        data = (folder / name).read_bytes()
        assert data.count(old) == 1
        (folder / name).write_bytes(data.replace(old, new))

    return replace


def forged(folder: Path) -> None:
    """A file of weights that is none, with its right sum."""
    (folder / "other.safetensors").write_bytes(b"nothing")
    sum_ = files.hashlib.sha256(b"nothing").hexdigest()
    rewritten(lambda d: d["weights"].update(other=sum_))(folder)


BAD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "newer": (rewritten(lambda d: d.update(schema=2)), "schema 2, of a newer refnn: this one reads schemas up to 1"),
    "newer, other fields": (lambda f: (f / files.NAME).write_text('{"schema": 9}'), "has schema 9, of a newer refnn"),
    "older": (rewritten(lambda d: d.update(schema=0)), "network.json.schema is 0, expected 1"),
    "schema": (rewritten(lambda d: d.update(schema="1")), "network.json.schema is '1', expected 1"),
    "no schema": (rewritten(lambda d: d.pop("schema")), "network.json has no field 'schema'"),
    "tampered": (replaced("network.json", b"0.1", b"0.2"), "json was changed after it was saved: its SHA"),
    "weights": (replaced("initial.safetensors", b"\x3f", b"\x3e"), "initial.safetensors was changed after it was"),
    "sum": (rewritten(lambda d: d["weights"].update(other="0" * 64)), "other.safetensors was changed after"),
    "no weights": (lambda f: (f / "other.safetensors").unlink(), "other.safetensors"),
    "forged": (forged, "other.safetensors is no safetensors file"),
    "cut": (lambda f: (f / files.NAME).write_text('{"schema": 1,'), "network.json: it is not JSON ("),
    "bytes": (lambda f: (f / files.NAME).write_bytes(b"\xff\xfe\x00"), "network.json: it is not JSON (Unicode"),
    "list": (lambda f: (f / files.NAME).write_text("[]"), "network.json is [], expected object"),
    "unknown field": (rewritten(lambda d: d.update(colour=3)), "the unknown field 'colour', expected only"),
    "missing field": (rewritten(lambda d: d.pop("nodes")), "network.json has no field 'nodes'"),
    "unknown field of a node": (rewritten(lambda d: d["nodes"][1].update(type=1)), "nodes[1] has the unknown field"),
    "type": (rewritten(lambda d: d["nodes"][0].update(op=3)), "network.json.nodes[0].op is 3, expected string"),
    "shape": (rewritten(lambda d: d["shapes"].update(x=[1.5])), "network.json.shapes.x[0] is 1.5, expected integer"),
    "path": (
        rewritten(lambda d: d["weights"].update({"../other": "0" * 64})),
        "network.json.weights.../other is '../other', expected what matches",
    ),
    "op": (rewritten(lambda d: d["nodes"][1].update(op="eluu")), "did you mean 'elu'"),
    "no such parameter": (rewritten(lambda d: d["nodes"][0].update(inputs=["x"])), "differ in conv.weight"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_gets_one_sentence(name: str, folder: Path) -> None:
    spoil, sentence = BAD[name]
    spoil(folder)
    with pytest.raises((ValueError, OSError, LookupError)) as caught:
        Network.load(folder)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["../data", "lenett", "", "digits_mlp/../lenet"])
def test_a_name_that_is_no_fixture_finds_nothing(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"neither a folder with network.json nor a fixture, which are .*lenet"):
        Network.load(name)


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    nodes = [Node("fc", "linear", ("x", "fc.weight"))]

    def made(**params: Any) -> Network:
        return Network(nodes, name="net", weights={"initial": params})

    assert made(**{"fc.weight": np.ones((2, 3))}).weights
    with pytest.raises(
        ValueError, match=r"fc.weight\[0, 1\] of the weights 'initial' is nan, expected a finite number"
    ):
        made(**{"fc.weight": np.array([[1.0, np.nan]])})
    with pytest.raises(TypeError, match=r"fc.weight of the weights 'initial' has dtype int64, expected floats"):
        made(**{"fc.weight": np.ones((2, 3), int)})
    with pytest.raises(ValueError, match=r"'initial' and the network's parameters differ in fc.bias"):
        made(**{"fc.weight": np.ones((2, 3)), "fc.bias": np.ones(2)})
    with pytest.raises(ValueError, match=r"network.json.weights.a/b is 'a/b', expected what matches"):
        Network(nodes, weights={"a/b": {"fc.weight": np.ones((2, 3))}}).save(tmp_path / "net")
    with pytest.raises(TypeError, match=r"^network.json cannot hold np.int64\(3\), a int64: expected what JSON has$"):
        Network(nodes, about={"seed": np.int64(3)}).save(tmp_path / "net")
    assert not (tmp_path / "net").exists()
