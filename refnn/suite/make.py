"""What the files of the suite say, and the files themselves: `refnn gen --all --out FOLDER` writes the same bytes every
time, in `ops/OP/FAMILY.json`, `networks/NAME/cases.json` and MANIFEST.json.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from refnn.arithmetic import Convention
from refnn.formats import FORMATS
from refnn.ids import CaseId
from refnn.judging.call import differentiable
from refnn.judging.case import Case
from refnn.judging.network_cases import data_item
from refnn.judging.special import spread
from refnn.models import VERSION, model
from refnn.networks.network import Network, fixtures
from refnn.op import Op
from refnn.ops import OPS, find
from refnn.oracle.allowance import WorstCase, worst_case
from refnn.oracle.ties import grouped, shares
from refnn.oracle.truth import Value, certify
from refnn.suite.fixture import SCHEMA, SUITE, Claim, Expected, Group
from refnn.suite.plan import AIMS, FORMATS_HELD, NAMES, cases
from refnn.wire.encoding import attribute, encode, encode_bounds, tensor

# A reader computes |(got - hi) - lo| in float64: two roundings, each at most 2**-53 of what is there.
SLACK = 1 + 2.0**-40


# --- what is expected ------------------------------------------------------------------------------------------------


def expectations(case: Case, dtype: str) -> dict[str, Expected]:
    """What is expected of each result of a case in one working format."""
    wanted = [True, *differentiable(case)]
    names = ["y", *(f"d/{n}" for n in case.op.inputs)]
    if case.row is not None:
        entries = [case.row.output, *case.row.grads]
        shapes = [case.cotangent.shape, *(None if x is None else x.shape for x in case.inputs)]
        found = [
            _of_row(e, s, dtype) if w and s is not None else None
            for e, s, w in zip(entries, shapes, wanted, strict=True)
        ]
    else:
        oracle = _Oracle(case, dtype)
        found = [oracle.expected(i) if w else None for i, w in enumerate(wanted)]
    return {n: e for n, e in zip(names, found, strict=True) if e is not None}


def _of_row(entry: Any, shape: tuple[int, ...], dtype: str) -> Expected:
    """A row of a table of special values: the first answer that it names, and beside it the others."""
    answers = np.empty(shape, dtype=object)
    spread(answers, (), entry, len(shape))
    flat = [("*",) if a is None else a for a in answers.ravel()]

    def claim(nth: int, at: list[int] | None) -> Claim:
        chosen = [flat[i][nth] for i in (range(len(flat)) if at is None else at)]
        classes = "".join(map(_letter, chosen))
        hi = np.array([float(v) if c == "f" else 0.0 for c, v in zip(classes, chosen, strict=True)])
        zero = np.zeros(len(hi))
        where = None if at is None else np.array(at)
        return Claim(classes, hi, zero, {dtype: zero}, where, "" if at is None else "special")

    most = max(map(len, flat), default=1)
    others = ([i for i, a in enumerate(flat) if len(a) > nth] for nth in range(1, most))
    return Expected(claim(0, None), tuple(claim(nth, at) for nth, at in enumerate(others, 1)))


def _letter(answer: float | str) -> str:
    """The class of one answer of a table: "+0" and "-0" insist on the sign."""
    if isinstance(answer, str):
        return {"+0": "z", "-0": "Z", "*": "*"}[answer]
    return _letters(np.array([answer], np.float64))


def _letters(x: np.ndarray) -> str:
    kinds = np.select([np.isnan(x), x == np.inf, x == -np.inf], ["n", "p", "m"], "f")
    return "".join(kinds.ravel())


class _Oracle:
    """Truth and worst cases of a case in one working format, each under the conventions that it asks for."""

    def __init__(self, case: Case, dtype: str) -> None:
        self.case, self.dtype, self.op = case, dtype, case.op
        self.worst: dict[tuple[str, str], WorstCase] = {}
        self.truths: dict[str, list[Value | None]] = {}

    def bounds(self, which: int, algorithm: str = "accurate", convention: Convention | None = None) -> Any:
        """(middle, worst) of one result, flat."""
        key = algorithm, str(convention)
        if key not in self.worst:
            with np.errstate(all="ignore"):
                self.worst[key] = worst_case(self.case.call(algorithm, convention), model(self.dtype))
        result = self.worst[key].results[which]
        assert result is not None
        return [np.array(part).ravel() for part in result]

    def truth(self, which: int, convention: Convention | None = None) -> Value:
        key = str(convention)
        if key not in self.truths:
            with np.errstate(all="ignore"):
                t = certify(self.case.call(convention=convention))
            self.truths[key] = [t.output, *t.grads]
        value = self.truths[key][which]
        assert value is not None
        return Value(*(getattr(value, k).ravel() for k in ("value", "low", "radius", "certain")))

    def expected(self, which: int) -> Expected:
        main, also, groups = self._numbers(which), list[Claim](), list[Group]()
        if self.worst["accurate", "None"].kinks and self.op.kinks:
            if any(isinstance(c, Mapping) for c in self.op.kinks.values()):
                return Expected(self._choices(which, main))
            if all(isinstance(c, str) for c in self.op.kinks.values()):
                if which:
                    main, groups = self._ties(which, main)
            else:
                main, also = self._kinks(which, main)
        return Expected(main, (*also, *self._classes(which, main)), tuple(groups))

    def _claim(self, value: Value, middle: np.ndarray, allowed: np.ndarray) -> Claim:
        """The truth and how far from it an evaluation may be; the class letter where it is no number."""
        special = ~np.isfinite(middle) & (allowed == 0)
        number = np.isfinite(value.value) & np.isfinite(allowed) & ~special
        # Nothing is claimed where a result on the way may overflow.
        classes = np.where(special, [*_letters(middle)], np.where(number, "f", "*")) if middle.size else middle
        bound = np.where(number, (allowed + value.radius) * SLACK, 0.0)
        hi, lo = np.where(number, value.value, 0.0), np.where(number, value.low, 0.0)
        return Claim("".join(classes), hi, lo, {self.dtype: bound})

    def _numbers(self, which: int) -> Claim:
        return self._claim(self.truth(which), *self.bounds(which))

    def _kinks(self, which: int, main: Claim) -> tuple[Claim, list[Claim]]:
        """At a kink of the output any share of the one-sided derivatives is sound: a range. Where the output jumps,
        either side is, and nothing between."""
        ends = [self._claim(self.truth(which, c), *self.bounds(which, "accurate", c)) for c in (0.0, 1.0)]
        below, above = ends
        apart = (below.hi != above.hi) | (below.lo != above.lo)
        at = np.flatnonzero(apart & _numeric(main) & _numeric(below) & _numeric(above))
        if not at.size:
            return main, []
        if which == 0:
            named = {c: name for name, c in reversed([*self.op.kinks.items()])}
            other = [c for c in named if c != self.op.convention]
            return main, [
                _part(self._claim(self.truth(0, c), *self.bounds(0, "accurate", c)), at, "convention", named[c])
                for c in other
            ]
        bound = np.maximum(*(e.bounds[self.dtype] + np.abs(e.lo) for e in ends)) * SLACK
        merged = Claim(
            "".join("r" if i in at else c for i, c in enumerate(main.letters)),
            _put(main.hi, at, below.hi),
            _put(main.lo, at, above.hi),
            {self.dtype: _put(main.bounds[self.dtype], at, bound)},
        )
        return merged, []

    def _ties(self, which: int, main: Claim) -> tuple[Claim, list[Group]]:
        """Cells that are tied share the cotangent of their windows: each lies between none and all of it, and their sum
        is the sum of what they share."""
        sent = shares(self.case.call(), which - 1)
        assert sent is not None, f"{self.op.name} does more than route its cotangent"
        labels = sent.components(main.hi.size)
        tied = (np.bincount(sent.window)[sent.window] > 1) & (sent.amount != 0) if sent.window.size else sent.window > 0
        _, loosest = self.bounds(which, "accurate", "any")
        classes, groups = [*main.letters], []
        hi, lo, bound = main.hi.copy(), main.lo.copy(), main.bounds[self.dtype].copy()
        for label, cells in grouped(labels).items():
            if label < 0:
                continue
            entries = np.flatnonzero(np.isin(sent.cell, cells))
            for cell in cells.tolist():
                own = entries[sent.cell[entries] == cell]
                fixed = sum((Fraction(v) for v in sent.amount[own[~tied[own]]].tolist()), Fraction())
                free = [Fraction(v) for v in sent.amount[own[tied[own]]].tolist()]
                low, high = (fixed + sum(f for f in free if f * sign > 0) for sign in (-1, 1))
                classes[cell], hi[cell], lo[cell] = "r", float(low), float(high)
                bound[cell] = (loosest[cell] + _half_ulp(hi[cell]) + _half_ulp(lo[cell])) * SLACK
            windows = {w: Fraction(a) for w, a, t in zip(sent.window, sent.amount.tolist(), tied, strict=True) if t}
            here = set(sent.window[entries].tolist())
            loose = entries[~tied[entries]]
            total = sum((a for w, a in windows.items() if w in here), Fraction())
            total += sum((Fraction(v) for v in sent.amount[loose].tolist()), Fraction())
            most = np.maximum(np.abs(hi[cells]), np.abs(lo[cells])) + bound[cells]
            # The sum of n numbers in float64 is off by at most (n - 1) 2**-53 of the sum of their sizes.
            allowed = (loosest[cells].sum() + len(cells) * 2.0**-53 * most.sum()) * SLACK
            rest = float(total - Fraction(float(total)))
            groups.append(Group(cells, float(total), rest, {self.dtype: allowed}))
        return Claim("".join(classes), hi, lo, {self.dtype: bound}), groups

    def _choices(self, which: int, main: Claim) -> Claim:
        """Of a network nothing is claimed where conventions of its ops lead to different results."""
        differ = np.zeros(main.hi.shape, bool)
        for convention in self.op.kinks.values():
            other = self.truth(which, convention)
            differ |= (other.value != main.hi) | (other.low != main.lo)
        kept = ~differ & _numeric(main)
        bound = np.where(kept, main.bounds[self.dtype], 0.0)
        classes = "".join("*" if d and c == "f" else c for d, c in zip(differ, main.letters, strict=True))
        return Claim(classes, np.where(kept, main.hi, 0.0), np.where(kept, main.lo, 0.0), {self.dtype: bound})

    def _classes(self, which: int, main: Claim) -> Iterator[Claim]:
        """How far from the truth the other declared classes of algorithms may be, where that is further."""
        value = self.truth(which)
        for name in self.op.algorithms:
            middle, allowed = self.bounds(which, name)
            other = self._claim(value, middle, allowed)
            both = _numeric(main) & _numeric(other)
            further = other.bounds[self.dtype] > main.bounds[self.dtype]
            if (at := np.flatnonzero(both & further)).size:
                yield _part(other, at, "class", name)


def _numeric(claim: Claim) -> np.ndarray:
    return np.array([c == "f" for c in claim.letters], dtype=bool)


def _put(x: np.ndarray, at: np.ndarray, y: np.ndarray) -> np.ndarray:
    changed = x.copy()
    changed[at] = y[at]
    return changed


def _part(claim: Claim, at: np.ndarray, kind: str, name: str) -> Claim:
    """An alternative: a claim at some elements only."""
    bounds = {k: b[at] for k, b in claim.bounds.items()}
    return Claim("".join(claim.letters[i] for i in at), claim.hi[at], claim.lo[at], bounds, at, kind, name)


def _half_ulp(x: float) -> float:
    return abs(x) * 2.0**-53


def merged(narrow: Mapping[str, Expected], wide: Mapping[str, Expected]) -> dict[str, Expected]:
    """What is expected in both working formats, with the bounds of each; that of the narrow one alone where the two do
    not say the same (a result may overflow in one of them). What other classes do may differ."""
    if any(_skeleton(narrow[n]) != _skeleton(wide[n]) for n in narrow):
        return dict(narrow)

    def both(a: Any, b: Any) -> Any:
        return replace(a, bounds={**a.bounds, **b.bounds})

    found = {}
    for n, e in narrow.items():
        beside = {_claimed(c): c for c in wide[n].also}
        also = [both(c, beside.pop(_claimed(c))) if _claimed(c) in beside else c for c in e.also]
        groups = (both(a, b) for a, b in zip(e.groups, wide[n].groups, strict=True))
        found[n] = Expected(both(e.main, wide[n].main), (*also, *beside.values()), tuple(groups))
    return found


def _claimed(c: Claim) -> Any:
    """All of a claim but its bounds."""
    return c.letters, c.hi.tobytes(), c.lo.tobytes(), None if c.at is None else tuple(c.at.tolist()), c.kind, c.name


def _skeleton(e: Expected) -> Any:
    """All but the bounds and the classes of algorithms."""
    claims = [_claimed(c) for c in (e.main, *e.also) if c.kind != "class"]
    return claims, [(g.at.tolist(), g.hi, g.lo) for g in e.groups]


def widened(case: Case, dtype: str) -> Case:
    """The same case in a wider format, which holds its numbers exactly. ValueError for a narrower one."""
    if FORMATS[dtype].precision < FORMATS[case.cotangent.dtype.name].precision:
        raise ValueError(f"the case {case.id!r} holds {case.cotangent.dtype.name} numbers, which {dtype} does not")

    def wide(x: Any) -> Any:
        return x.astype(dtype) if isinstance(x, np.ndarray) and x.dtype.kind not in "biu" else x

    params = {k: wide(v) for k, v in case.params.items()}
    return replace(case, inputs=tuple(map(wide, case.inputs)), params=params, cotangent=wide(case.cotangent))


# --- as JSON ---------------------------------------------------------------------------------------------------------


def described(case: Case) -> dict[str, Any]:
    """A case and what is expected of it, in every working format that can hold it."""
    dtype = case.cotangent.dtype.name
    expect = expectations(case, dtype)
    for wider in FORMATS_HELD[FORMATS_HELD.index(dtype) + 1 :]:
        expect = merged(expect, expectations(widened(case, wider), wider))
    draw = CaseId.parse(case.id).variant.partition(",")[0]
    flags = [draw] if case.family == "hard" else ["limits"] if case.family == "limits" else []
    named = dict(zip(case.op.inputs, case.inputs, strict=True))
    return {
        "id": case.id,
        "op": case.op.name,
        "attrs": {k: attribute(v) for k, v in case.params.items()},
        "dtype": dtype,
        **({"flags": flags} if flags else {}),
        **({"why": case.row.why} if case.row is not None else {}),
        "inputs": {n: None if x is None else _tensor(x, case.family) for n, x in named.items()},
        "cotangents": {"y": _tensor(case.cotangent, case.family)},
        "expect": {n: _expected(e) for n, e in expect.items()},
    }


def _tensor(x: np.ndarray, family: str) -> dict[str, Any]:
    """The bits, and in cases that are meant to be read the numbers beside them."""
    readable = family == "smoke" and x.dtype.kind not in "biu"
    return tensor(x) | ({"approx": x.astype(np.float64).ravel().tolist()} if readable else {})


def _expected(e: Expected) -> dict[str, Any]:
    claim = ({} if e.main.at is None else {"at": e.main.at.tolist()}) | _claim(e.main)
    also = [
        {"kind": c.kind, **({"name": c.name} if c.name else {}), "at": np.asarray(c.at).tolist(), **_claim(c, e.main)}
        for c in e.also
    ]
    groups = [
        {
            "at": g.at.tolist(),
            "hi": encode(np.array([g.hi])),
            "lo": encode(np.array([g.lo])),
            "bound": {k: encode_bounds(np.array([b])) for k, b in g.bounds.items()},
        }
        for g in e.groups
    ]
    return {**claim, **({"also": also} if also else {}), **({"groups": groups} if groups else {})}


def _claim(c: Claim, main: Claim | None = None) -> dict[str, Any]:
    """A claim; hi and lo are left out where they are those of the main one, as mostly for classes of algorithms."""
    bound = {k: encode_bounds(b) for k, b in c.bounds.items()}
    if main is not None and np.array_equal(c.hi, main.hi[c.at]) and np.array_equal(c.lo, main.lo[c.at]):
        return {"class": c.letters, "bound": bound}
    return {"class": c.letters, "hi": encode(c.hi), "lo": encode(c.lo), "bound": bound}


def document(op: str | Op, family: str) -> str:
    """The file of one op and family: a line for each case."""
    op = find(op)
    found = [described(c) for c in cases(op, family)]
    flags = sorted({f for c in found for f in c.get("flags", ())})
    shares = {n: c for n, c in op.kinks.items() if isinstance(c, float)}
    return _file(_head(op.name, family, len(found), f"refnn.ops.{op.name}", {f: AIMS[f] for f in flags}, shares), found)


def _head(
    op: str, family: str, count: int, derivation: str, notes: Mapping[str, str], conventions: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "suite": SUITE,
        "op": op,
        "family": family,
        "numberOfCases": count,
        "bound_kind": "proved",
        "derivation": derivation,
        "notes": notes,
        "conventions": conventions,
    }


def _file(head: Mapping[str, Any], found: Sequence[Mapping[str, Any]]) -> str:
    """A line for each case."""
    lines = ",\n".join(json.dumps(c, separators=(",", ":"), allow_nan=False) for c in found)
    return json.dumps(head, allow_nan=False)[:-1] + ', "cases": [\n' + lines + "\n]}\n"


# --- networks --------------------------------------------------------------------------------------------------------

SAMPLES = 2  # of a network's data, in its case
WHOLE = 6000  # results of a network that are given whole; of a larger one some of each tensor are
SAMPLED = 24


def network_case(net: Network) -> Case:
    """Some samples of a network's data, with its trained parameters."""
    weights = net.weights["trained"]
    item = data_item(net, FORMATS["float32"], seed=0)
    inputs = tuple(np.asarray(x)[:SAMPLES] for x in item["inputs"])
    y = net.forward(weights, *inputs).output
    name = str(CaseId(net.name, "float32", "network", "weights=trained"))
    g = np.random.default_rng(zlib.crc32(name.encode())).normal(size=y.shape).astype(np.float32)
    arrays = (*(weights[p] for p in net.parameters), *inputs)
    return Case(name, net.op, arrays, {}, g, "network", random=False)


def network_expectations(net: Network, case: Case) -> dict[str, tuple[tuple[int, ...], Expected]]:
    """What is expected of every value between the layers, of the output, and of the gradient of every parameter; each
    with its shape."""

    def both(of: Case) -> dict[str, Expected]:
        found = [expectations(c, d) for c, d in ((of, "float32"), (widened(of, "float64"), "float64"))]
        # Other classes of algorithms are left out: end to end their worst cases say little.
        return {n: Expected(e.main) for n, e in merged(*found).items()}

    given = {n: np.asarray(x) for n, x in zip(case.op.inputs, case.inputs, strict=True)}
    values = net.forward(net.weights["trained"], *(given[n] for n in net.inputs)).values
    found: dict[str, tuple[tuple[int, ...], Expected]] = {}
    for i, node in enumerate(net.nodes[:-1], 1):
        part = Network(net.nodes[:i], name=net.name, inputs=net.inputs)
        zero = np.zeros(values[node.name].shape, np.float32)
        arrays = tuple(given[n] for n in (*part.parameters, *part.inputs))
        whole = both(Case(case.id, part.op, arrays, {}, zero, "network", random=False))
        found[f"v/{node.name}"] = (zero.shape, whole["y"])
    for name, e in both(case).items():
        shape = case.cotangent.shape if name == "y" else given[name.removeprefix("d/")].shape
        found[name] = (shape, e)
    return found


def network_document(net: Network, full: bool = False) -> str:
    """The file of a network. Where it is too large to be given whole, `full` is the file that holds all of it, and the
    other one some elements of each tensor and the hash of that file."""
    case = network_case(net)
    found = network_expectations(net, case)
    large = sum(len(e.main.letters) for _, e in found.values()) > WHOLE
    extra: dict[str, Any] = {}
    if large and not full:
        digest = hashlib.sha256(network_document(net, full=True).encode()).hexdigest()
        extra = {"full": {"path": f"networks/{net.name}/full.json", "sha256": digest}}
        rng = np.random.default_rng(zlib.crc32(case.id.encode()))
        found = {n: (s, _sampled(e, rng)) for n, (s, e) in found.items()}
    inputs = dict(zip(net.inputs, case.inputs[len(net.parameters) :], strict=True))
    described = {
        "id": case.id,
        "op": net.name,
        "attrs": {},
        "dtype": "float32",
        "weights": "trained",
        "inputs": {n: tensor(np.asarray(x)) for n, x in inputs.items()},
        "cotangents": {"y": tensor(case.cotangent)},
        "expect": {n: {"shape": list(s), **_expected(e)} for n, (s, e) in found.items()},
        **extra,
    }
    head = _head(net.name, "network", 1, f"networks/{net.name}/network.json", {}, {})
    return _file(head, [described])


def _sampled(e: Expected, rng: np.random.Generator) -> Expected:
    """Some elements of a result that is too large."""
    size = len(e.main.letters)
    if size <= SAMPLED:
        return e
    return Expected(_part(e.main, np.sort(rng.choice(size, SAMPLED, replace=False)), "", ""))


# --- files -----------------------------------------------------------------------------------------------------------


def write(folder: Path, names: Sequence[str] = (), step: Callable[[str], None] = lambda label: None) -> list[Path]:
    """Write the files of these ops and networks (of all by default) into a folder, and its manifest."""
    written = []

    def save(text: str, *parts: str) -> None:
        path = folder.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
        written.append(path)

    for name in names or (*OPS, *fixtures()):
        step(name)
        if name in OPS:
            for family in NAMES:
                save(document(name, family), "ops", name, f"{family}.json")
            continue
        net = Network.load(name)
        text = network_document(net)
        save(text, "networks", name, "cases.json")
        if names and '"full":' in text:  # too large to come with refnn
            save(network_document(net, full=True), "networks", name, "full.json")
    save(manifest(folder), "MANIFEST.json")
    return written


def manifest(folder: Path) -> str:
    """The manifest of the fixture files in a folder."""
    entries: list[dict[str, Any]] = []
    listed = [*folder.glob("ops/*/*.json"), *folder.glob("networks/*/*.json"), *folder.glob("networks/*/*.safetensors")]
    for path in sorted(listed):
        content, name = path.read_bytes(), path.relative_to(folder).as_posix()
        if name.endswith("/full.json"):
            continue
        counts = {"cases": 0, "elements": 0}
        if name.startswith("ops/") or name.endswith("/cases.json"):
            file = json.loads(content)
            claims = [e["class"] for c in file["cases"] for e in c["expect"].values()]
            counts = {"cases": len(file["cases"]), "elements": sum(map(len, claims))}
        entries.append({"path": name, "sha256": hashlib.sha256(content).hexdigest(), **counts})
    totals = {"files": len(entries), **{k: sum(e[k] for e in entries) for k in ("cases", "elements")}}
    head = {"schema": SCHEMA, "suite": SUITE, "models": VERSION, "totals": totals}
    lines = ",\n".join(json.dumps(e) for e in entries)
    return json.dumps(head)[:-1] + ', "files": [\n' + lines + "\n]}\n"
