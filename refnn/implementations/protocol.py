"""Requests and answers, as text lines and as JSON messages: the two written forms of conformance/FORMAT.md.

Neither holds expected values. What a program sends is checked before it is used. ValueError names the field and the
rule in one sentence.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from refnn.formats import FORMATS
from refnn.networks.network import subject
from refnn.wire.encoding import INTEGER, attribute, decode, digits, encode, from_attribute, from_tensor, tensor
from refnn.wire.schema import check, parse

PROTOCOL = 1
COTANGENT = "gy"  # what text lines call the cotangent of y


@dataclass(frozen=True, eq=False)
class Request:
    """A request to an implementation: the results `wants` of an op at these inputs, in the format `dtype`."""

    id: str
    op: str
    dtype: str
    attrs: Mapping[str, Any]
    inputs: Mapping[str, np.ndarray | None]
    cotangent: np.ndarray
    wants: tuple[str, ...]

    def shape(self, want: str) -> tuple[int, ...]:
        """The shape of a result."""
        result = self.cotangent if want == "y" else self.inputs[want.removeprefix("d/")]
        assert result is not None
        return result.shape

    @property
    def largest(self) -> int:
        """The number of elements of its largest tensor."""
        return max(x.size for x in (self.cotangent, *self.inputs.values()) if x is not None)


@dataclass(frozen=True, eq=False)
class Answer:
    """An answer: results by name, why the case, or the rest of it, is not supported, and what went wrong with all or
    some of the results."""

    results: Mapping[str, np.ndarray] = field(default_factory=dict)
    skip: str | None = None
    errors: tuple[str, ...] = ()


# --- text lines ------------------------------------------------------------------------------------------------------

_NAME = r"[A-Za-z_][A-Za-z0-9_.]*"
_TENSOR = re.compile(rf"({_NAME})\[([0-9,]*)\](:{INTEGER})?=([0-9a-fA-F]*)")
_PARAM = re.compile(rf"({_NAME})=(.*)", re.DOTALL)
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?(e[-+]?[0-9]+)?")
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def line(r: Request) -> str:
    """A request as one line of text, without the newline."""
    items = [_item(n, v) for n, v in (*r.attrs.items(), *r.inputs.items(), (COTANGENT, r.cotangent))]
    return " ".join([r.id, r.op, r.dtype, *items, "?" + ",".join(r.wants)])


def _item(name: str, value: Any) -> str:
    if not isinstance(value, np.ndarray):
        return f"{name}={_word(value)}"
    kind = f":{INTEGER}" if value.dtype.kind in "iu" else ""
    return f"{name}[{','.join(map(str, value.shape))}]{kind}={encode(value)}"


def _word(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (tuple, list)):
        return f"[{','.join(map(_word, value))}]"
    return str(value)


def parse_line(text: str) -> Request:
    """The request that a line holds."""
    tokens = text.split()
    if len(tokens) < 4 or not tokens[-1].startswith("?"):
        raise ValueError(f"the request {_cut(text)} is not of the form ID OP DTYPE ITEMS ?WANTS")
    name, op, dtype, *items, wants = tokens
    if dtype not in FORMATS:
        raise ValueError(f"the request {name}: its dtype is {dtype!r}, expected one of {', '.join(FORMATS)}")
    values: dict[str, Any] = {}
    for item in items:
        key, value = _parse_item(item, dtype, name)
        if key in values:
            raise ValueError(f"the request {name}: {key} occurs twice")
        values[key] = value
    cotangent = values.pop(COTANGENT, None)
    if not isinstance(cotangent, np.ndarray):
        raise ValueError(f"the request {name} has no {COTANGENT}")
    known = subject(op).inputs
    inputs = {n: values.pop(n) for n in known if n in values}
    return Request(name, op, dtype, values, inputs, cotangent, tuple(wants[1:].split(",")))


def _parse_item(text: str, dtype: str, where: str) -> tuple[str, Any]:
    if found := _TENSOR.fullmatch(text):
        name, shape, integer, bits = found.groups()
        if not re.fullmatch("([0-9]+(,[0-9]+)*)?", shape):
            raise ValueError(
                f"the request {where}: the shape of {name} is [{shape}], expected sizes separated by commas"
            )
        try:
            return name, decode(bits, INTEGER if integer else dtype, [int(n) for n in shape.split(",") if n])
        except ValueError as e:
            raise ValueError(f"the request {where}: {name} {e}") from e
    if not (found := _PARAM.fullmatch(text)):
        raise ValueError(f"the request {where}: {_cut(text)} is neither NAME=VALUE nor NAME[SHAPE]=BITS")
    try:
        value, rest = parse_value(found[2])
    except ValueError as e:
        raise ValueError(f"the request {where}: {e}") from e
    if rest:
        raise ValueError(f"the request {where}: {found[1]} is followed by {_cut(rest)}")
    return found[1], value


def parse_value(text: str) -> tuple[Any, str]:
    """The value of a parameter at the beginning of a text, and the text that follows it."""
    if text.startswith("["):
        values, text = list[Any](), text[1:]
        while not text.startswith("]"):
            value, text = parse_value(text.removeprefix(",") if values else text)
            values.append(value)
        return tuple(values), text[1:]
    if found := _NUMBER.match(text):
        whole = found[1] is None and found[2] is None
        return (int if whole else float)(found[0]), text[found.end() :]
    if found := _WORD.match(text):
        words = {"null": None, "true": True, "false": False}
        return words.get(found[0], found[0]), text[found.end() :]
    raise ValueError(f"{_cut(text)} is not a value")


def parse_answer(text: str) -> tuple[str, dict[str, str], str | None, str | None]:
    """(id, bits by result, why it was skipped, what went wrong) of an answer. Only one of the last three is filled."""
    name, _, rest = text.strip().partition(" ")
    word, _, reason = rest.strip().partition(" ")
    if word == "SKIP":
        return name, {}, reason.strip() or "no reason given", None
    if word == "ERR":
        return name, {}, None, reason.strip() or "no reason given"
    results: dict[str, str] = {}
    for token in rest.split():
        want, equals, bits = token.partition("=")
        if not equals or not re.fullmatch(f"y|d/{_NAME}", want):
            raise ValueError(f"{_cut(token)} is neither RESULT=BITS nor SKIP nor ERR")
        if want in results:
            raise ValueError(f"{want} occurs twice")
        results[want] = bits
    if not results:
        raise ValueError("it has no result")
    return name, results, None, None


def read_results(r: Request, bits: Mapping[str, str]) -> Answer:
    """The arrays of an answer, from its bits and the shapes of the request."""
    found, errors = {}, _unasked(r, bits)
    for want in r.wants:
        if want not in bits:
            errors.append(f"{want} was not answered")
            continue
        try:
            found[want] = decode(bits[want], r.dtype, r.shape(want))
        except ValueError as e:
            errors.append(f"{want} {e}")
    return Answer(found, errors=tuple(errors))


def _unasked(r: Request, given: Iterable[str]) -> list[str]:
    return [f"{want} was not asked for" for want in given if want not in r.wants]


def _cut(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:60]}...")


# --- messages --------------------------------------------------------------------------------------------------------


def message(data: Mapping[str, Any]) -> str:
    """A message as one line of JSON, without the newline."""
    return json.dumps(data, separators=(",", ":"), allow_nan=False)


def start_message(suite: str) -> dict[str, Any]:
    return {"cmd": "start", "protocol": PROTOCOL, "suite": suite}


def run_message(r: Request, seq: int) -> dict[str, Any]:
    return {
        "cmd": "run",
        "seq": seq,
        "id": r.id,
        "op": r.op,
        "attrs": {n: attribute(v) for n, v in r.attrs.items()},
        "dtype": r.dtype,
        "inputs": {n: None if x is None else tensor(x) for n, x in r.inputs.items()},
        "cotangents": {"y": tensor(r.cotangent)},
        "want": list(r.wants),
    }


STOP: Mapping[str, Any] = {"cmd": "stop"}


def parse_run(text: str) -> tuple[int, Request]:
    """The seq and the request of a run message."""
    data = parse(text, "the message")
    check(data, "protocol", "the message", "run")
    dtype = data["dtype"]
    inputs = {n: None if x is None else from_tensor(x, dtype) for n, x in data["inputs"].items()}
    attrs = {n: from_attribute(v, dtype) for n, v in data["attrs"].items()}
    g = from_tensor(data["cotangents"]["y"], dtype)
    return data["seq"], Request(data["id"], data["op"], dtype, attrs, inputs, g, tuple(data["want"]))


def parse_started(text: str) -> dict[str, Any]:
    """What a program says about itself: `impl`, and `capabilities` if it names any."""
    data = parse(text, "the answer to start")
    check(data, "protocol", "the answer to start", "started")
    return data


def parse_message(text: str, r: Request, seq: int) -> Answer:
    """The answer to a run message."""
    data = parse(text, "the answer")
    kind = next((k for k in ("skipped", "errored") if isinstance(data, dict) and k in data), "results")
    check(data, "protocol", "the answer", kind)
    if data["seq"] != seq:
        raise OutOfOrder(f"answered seq {data['seq']} when it was asked for {seq}: out of order")
    if kind == "skipped":
        link = f" ({data['issue_url']})" if "issue_url" in data else ""
        return Answer(skip=data.get("message", "no reason given") + link)
    if kind == "errored":
        context = data.get("context", {})
        return Answer(errors=(str(context.get("message", "")) or message(context),))
    found, errors = {}, _unasked(r, data["results"])
    for want in r.wants:
        given = data["results"].get(want)
        if given is None:
            errors.append(f"{want} was not answered")
        elif "dtype" in given or tuple(given["shape"]) != r.shape(want):
            errors.append(f"{want} has shape {given['shape']}, expected {list(r.shape(want))} of {r.dtype}")
        else:
            try:
                found[want] = from_tensor(given, r.dtype)
            except ValueError as e:
                errors.append(f"{want}.{e}")
    return Answer(found, errors=tuple(errors))


class OutOfOrder(ValueError):
    """An answer to a request other than the last one."""


def answer_message(seq: int, results: Mapping[str, np.ndarray]) -> dict[str, Any]:
    return {"seq": seq, "results": {n: tensor(x) for n, x in results.items()}}


def answer_line(id: str, results: Mapping[str, np.ndarray]) -> str:
    return " ".join([id, *(f"{n}={encode(x)}" for n, x in results.items())])


def longest_answer(r: Request) -> int:
    """The most bytes that an answer needs in either form: twice its digits, and some for words."""
    return 1 << 14 | 2 * sum(digits(r.dtype) * int(np.prod(r.shape(w), dtype=np.int64)) for w in r.wants)
