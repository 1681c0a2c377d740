"""Reading fixture files. Every field, length, hash and path is checked before it is used.

ValueError names the file, the case, the field and the rule in one sentence.
"""

from __future__ import annotations

import fnmatch
import functools
import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from refnn.conformance import data
from refnn.ids import CaseId
from refnn.networks.network import Network
from refnn.suite.fixture import SCHEMA, Claim, Expected, Fixture, Group
from refnn.wire.encoding import decode, decode_bounds, from_attribute, from_tensor
from refnn.wire.schema import check, inside, parse


class Suite:
    """The fixtures of a folder that holds a MANIFEST.json: `files` maps op and family to the manifest's entry.

    A file is read, and its hash compared, when a case of it is asked for.
    """

    def __init__(self, folder: Path | None = None) -> None:
        path = data("MANIFEST.json") if folder is None else folder / "MANIFEST.json"
        if not path.is_file():
            raise ValueError(f"{path}: there is no such file, expected the manifest of the fixtures")
        self.folder = path.parent
        self.manifest = parse(path.read_bytes(), str(path))
        _same_schema(self.manifest, str(path))
        check(self.manifest, "manifest", str(path))
        self.version: str = self.manifest["suite"]
        self.digest = hashlib.sha256(path.read_bytes()).hexdigest()
        self.entries: dict[tuple[str, str], Mapping[str, Any]] = {}
        self._read: dict[tuple[str, str], tuple[Fixture, ...]] = {}
        for entry in self.manifest["files"]:
            kind, name, file = f"{entry['path']}//".split("/")[:3]
            if kind == "ops":
                self.entries[name, file.removesuffix(".json")] = entry
            elif kind == "networks" and file == "cases.json":
                self.entries[name, "network"] = entry
        totals = self.manifest["totals"]
        for name in ("cases", "elements"):
            counted = sum(e[name] for e in self.manifest["files"])
            if counted != totals[name]:
                raise ValueError(f"{path}: totals.{name} is {totals[name]}, but its files have {counted}")
        if totals["files"] != len(self.manifest["files"]):
            raise ValueError(f"{path}: totals.files is {totals['files']}, but it lists {len(self.manifest['files'])}")

    def verify(self) -> None:
        """ValueError names a file that is missing, differs from the manifest, or is not listed in it."""
        listed = {entry["path"] for entry in self.manifest["files"]}
        for entry in self.manifest["files"]:
            self._bytes(entry)
        for path in sorted([*self.folder.glob("ops/**/*.json"), *self.folder.glob("networks/*/cases.json")]):
            if (name := path.relative_to(self.folder).as_posix()) not in listed:
                raise ValueError(f"{self.folder / 'MANIFEST.json'}: the file {name!r} is not listed")

    def _bytes(self, entry: Mapping[str, Any]) -> bytes:
        path = inside(self.folder, entry["path"], str(self.folder / "MANIFEST.json"))
        content = path.read_bytes()
        if (found := hashlib.sha256(content).hexdigest()) != entry["sha256"]:
            raise ValueError(f"{path}: its sha256 is {found}, but the manifest says {entry['sha256']}: it was changed")
        return content

    def cases(self, op: str, family: str) -> tuple[Fixture, ...]:
        """The cases of one file."""
        if (op, family) in self._read:
            return self._read[op, family]
        entry = self.entries.get((op, family))
        if entry is None:
            raise ValueError(f"no fixtures of {op!r} in family {family!r}")
        path = self.folder / entry["path"]
        found = load(self._bytes(entry), str(path), self._parameters)
        counts = {"cases": len(found), "elements": sum(f.elements for f in found)}
        for name, n in counts.items():
            if n != entry[name]:
                raise ValueError(f"{path}: it has {n} {name}, but the manifest says {entry[name]}")
        if (found[0].op, found[0].family) != (op, family):
            raise ValueError(f"{path}: it holds {found[0].op}/{found[0].family}, expected {op}/{family}")
        self._read[op, family] = found
        return found

    def _parameters(self, network: str, weights: str) -> dict[str, np.ndarray]:
        """The parameters of a network, in its order, from a file of the manifest."""
        from safetensors import SafetensorError
        from safetensors.numpy import load as load_tensors

        folder = f"networks/{network}"
        files = {e["path"]: e for e in self.manifest["files"] if e["path"].startswith(f"{folder}/")}
        contents = []
        for name in (f"{folder}/network.json", f"{folder}/{weights}.safetensors"):
            if name not in files:
                raise ValueError(f"{self.folder / 'MANIFEST.json'}: the file {name!r} is not listed")
            contents.append(self._bytes(files[name]))
        try:
            found = load_tensors(contents[1])
        except SafetensorError as e:
            raise ValueError(f"{self.folder / folder / weights}.safetensors cannot be read: {e}") from e
        wanted = Network.load(self.folder / folder).parameters
        if missing := [p for p in wanted if p not in found]:
            raise ValueError(f"{self.folder / folder / weights}.safetensors has no {missing[0]!r}")
        return {p: found[p] for p in wanted}

    def find(self, id: str) -> Fixture | None:
        """The case of that id, or None."""
        named = CaseId.parse(id)
        if (named.op, named.family) not in self.entries:
            return None
        return next((f for f in self.cases(named.op, named.family) if f.id == id), None)

    def select(
        self, ops: str = "*", dtype: str | None = None, families: Sequence[str] = (), ids: Sequence[str] = ()
    ) -> Iterator[tuple[Fixture, str]]:
        """The cases to run, each with its working format, in a fixed order. `ops` are patterns separated by commas.

        Without a dtype, each case runs in the format of its inputs. With a dtype, only the cases that have bounds for
        it run, in that dtype.
        """
        for op, family in self.entries:
            if not any(fnmatch.fnmatchcase(op, p) for p in ops.split(",")) or (families and family not in families):
                continue
            for fixture in self.cases(op, family):
                working = fixture.dtype if dtype is None else dtype
                if working in fixture.formats and (not ids or fixture.id in ids):
                    yield fixture, working


@functools.cache
def the_suite() -> Suite:
    """The fixtures that come with refnn, read once."""
    return Suite()


Parameters = Callable[[str, str], Mapping[str, np.ndarray]]


def load(text: bytes | str, where: str, parameters: Parameters | None = None) -> tuple[Fixture, ...]:
    """The cases of the text of one file, which errors call `where`. `parameters(network, weights)` gives the parameters
    of a network."""
    file = parse(text, where)
    _same_schema(file, where)
    check(file, "fixture", where)
    if file["numberOfCases"] != len(file["cases"]):
        raise ValueError(f"{where}: numberOfCases is {file['numberOfCases']}, but it has {len(file['cases'])} cases")
    found: dict[str, Fixture] = {}
    for case in file["cases"]:
        place = f"{where}: case {case['id']}"
        if case["id"] in found:
            raise ValueError(f"{place}: its id occurs twice")
        if not case["id"].startswith(f"{file['op']}/{case['dtype']}/{file['family']}/") or case["op"] != file["op"]:
            raise ValueError(f"{place}: its id is not one of {file['op']}/{case['dtype']}/{file['family']}/")
        given = {} if parameters is None or "weights" not in case else parameters(case["op"], case["weights"])
        found[case["id"]] = _fixture(case, file, place, given)
    return tuple(found.values())


def _same_schema(file: Any, where: str) -> None:
    version = file.get("schema") if isinstance(file, dict) else None
    if version != SCHEMA:
        raise ValueError(f"{where}: its schema is {version!r}, expected {SCHEMA}")


def _fixture(
    case: Mapping[str, Any], file: Mapping[str, Any], where: str, parameters: Mapping[str, np.ndarray]
) -> Fixture:
    dtype = case["dtype"]

    def tensor(value: Any, name: str) -> Any:
        try:
            return None if value is None else from_tensor(value, dtype)
        except ValueError as e:
            raise ValueError(f"{where}: {name}.{e}") from e

    def attr(value: Any, name: str) -> Any:
        try:
            return from_attribute(value, dtype)
        except ValueError as e:
            raise ValueError(f"{where}: {name}.{e}") from e

    inputs = {**parameters, **{n: tensor(v, f"inputs.{n}") for n, v in case["inputs"].items()}}
    cotangent = tensor(case["cotangents"]["y"], "cotangents.y")
    shapes = {"y": cotangent.shape} | {f"d/{n}": x.shape for n, x in inputs.items() if x is not None}
    expect = {}
    for want, expected in case["expect"].items():
        if want.startswith("v/") and "shape" in expected:
            shapes[want] = tuple(expected["shape"])
        if want not in shapes:
            raise ValueError(f"{where}: expect.{want} is not a result of the case, expected one of {', '.join(shapes)}")
        if tuple(expected.get("shape", shapes[want])) != shapes[want]:
            raise ValueError(f"{where}: expect.{want}.shape is {expected['shape']}, expected {list(shapes[want])}")
        expect[want] = _expected(expected, math.prod(shapes[want]), f"{where}: expect.{want}")
    formats = [sorted(e.main.bounds) for e in expect.values()]
    if formats[0] != formats[-1] or dtype not in formats[0]:
        raise ValueError(f"{where}: the working formats of its bounds are {formats}, expected {dtype!r} in all of them")
    attrs = {n: attr(v, f"attrs.{n}") for n, v in case["attrs"].items()}
    flags = tuple(case.get("flags", ()))
    if unknown := [f for f in flags if f not in file["notes"]]:
        raise ValueError(f"{where}: the flag {unknown[0]!r} has no note")
    return Fixture(
        case["id"],
        case["op"],
        file["family"],
        dtype,
        inputs,
        attrs,
        cotangent,
        expect,
        flags,
        case.get("why", ""),
        file["conventions"],
    )


def _expected(e: Mapping[str, Any], size: int, where: str) -> Expected:
    at = _places(e["at"], size, where) if "at" in e else None
    main = _claim(e, size if at is None else len(at), where, None, at)
    also = []
    for i, a in enumerate(e.get("also", ())):
        place = f"{where}.also[{i}]"
        at = _places(a["at"], size, place)
        also.append(_claim(a, len(at), place, main, at))
    groups = []
    for i, g in enumerate(e.get("groups", ())):
        place = f"{where}.groups[{i}]"
        at = _places(g["at"], size, place)
        hi, lo = (_field(g[k], 1, f"{place}.{k}") for k in ("hi", "lo"))
        bounds = {k: float(_bound(b, 1, f"{place}.bound.{k}")[0]) for k, b in g["bound"].items()}
        groups.append(Group(at, float(hi[0]), float(lo[0]), bounds))
    return Expected(main, tuple(also), tuple(groups))


def _places(at: list[int], size: int, where: str) -> np.ndarray:
    if at != sorted(set(at)) or at[-1] >= size:
        raise ValueError(f"{where}.at is {at}, expected increasing places below {size}")
    return np.array(at)


def _claim(c: Mapping[str, Any], size: int, where: str, main: Claim | None, at: np.ndarray | None = None) -> Claim:
    if len(c["class"]) != size:
        raise ValueError(f"{where}.class has {len(c['class'])} letters, expected {size}")
    if main is not None and "hi" not in c:
        hi, lo = main.hi[at], main.lo[at]
    elif "hi" in c and "lo" in c:
        hi, lo = (_field(c[k], size, f"{where}.{k}") for k in ("hi", "lo"))
    else:
        raise ValueError(f"{where} has hi or lo, expected both or none")
    if not (np.isfinite(hi) & np.isfinite(lo)).all():
        raise ValueError(f"{where}: hi and lo hold NaN or infinity, expected numbers, and letters for these")
    bounds = {k: _bound(b, size, f"{where}.bound.{k}") for k, b in c["bound"].items()}
    return Claim(c["class"], hi, lo, bounds, at, c.get("kind", ""), c.get("name", ""))


def _field(text: str, size: int, where: str) -> np.ndarray:
    try:
        return decode(text, "float64", (size,))
    except ValueError as e:
        raise ValueError(f"{where} {e}") from e


def _bound(text: str, size: int, where: str) -> np.ndarray:
    try:
        return decode_bounds(text, size)
    except ValueError as e:
        raise ValueError(f"{where} {e}") from e
