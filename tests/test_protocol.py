"""Requests and answers as text lines and as messages: every case goes there and back, and what is malformed is said."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest

from refnn.conformance import data
from refnn.implementations.protocol import (
    OutOfOrder,
    Request,
    answer_line,
    answer_message,
    line,
    longest_answer,
    message,
    parse_answer,
    parse_line,
    parse_message,
    parse_run,
    parse_started,
    read_results,
    run_message,
    start_message,
)
from refnn.suite.fixture import request
from refnn.suite.read import Suite
from refnn.wire.encoding import encode
from refnn.wire.schema import check

SUITE = Suite()


def same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and (a.dtype, a.shape, encode(a)) == (b.dtype, b.shape, encode(b))
    return type(a) is type(b) and a == b


def alike(a: Request, b: Request) -> bool:
    heads = [(r.id, r.op, r.dtype, r.wants, [*r.attrs], [*r.inputs]) for r in (a, b)]
    values = [[*r.attrs.values(), *r.inputs.values(), r.cotangent] for r in (a, b)]
    return heads[0] == heads[1] and all(same(x, y) for x, y in zip(*values, strict=True))


@pytest.mark.parametrize("dtype", [None, "float64"])
def test_every_case_goes_there_and_back(dtype: str | None) -> None:
    """As a line and as a message: every rank, integer targets, absent inputs, parameters that are arrays or tuples."""
    seen = {"int64": 0, "null": 0, "array": 0, "tuple": 0, "pairs": 0, "scalar": 0, "empty": 0, "word": 0}
    for fixture, working in SUITE.select(dtype=dtype):
        r = request(fixture, working)
        assert alike(parse_line(line(r)), r), line(r)
        sent = message(run_message(r, 5))
        check(json.loads(sent), "protocol", "run", "run")
        seq, back = parse_run(sent)
        assert seq == 5 and alike(back, r)
        values = [*r.attrs.values()]
        arrays = [x for x in (*r.inputs.values(), r.cotangent) if x is not None]
        seen["int64"] += any(x.dtype == np.int64 for x in arrays)
        seen["null"] += None in [x is not None or None for x in r.inputs.values()]
        seen["array"] += any(isinstance(v, np.ndarray) for v in values)
        seen["tuple"] += any(isinstance(v, tuple) for v in values)
        seen["pairs"] += any(isinstance(v, tuple) and isinstance(v[0], tuple) for v in values)
        seen["scalar"] += any(x.ndim == 0 for x in arrays)
        seen["empty"] += any(x.size == 0 for x in arrays)
        seen["word"] += any(isinstance(v, str) for v in values)
    assert min(seen.values()) > 0, seen


EXAMPLES = (
    "softmax/float32/limits/n88 softmax float32 axis=-1 x[3]=42b1721842b0000000000000 "
    "gy[3]=3f8000000000000000000000 ?y,d/x",
    "softmax/float32/limits/n88 softmax float32 axis=-1 x[2,3]=42b1721842b000000000000042b1721842b0000000000000   "
    "gy[2,3]=3f80000000000000000000003f8000000000000000000000  ?y,d/x",
    "n/float32/smoke/n nll_loss float32 weight=null ignore_index=-100 reduction=mean input[1,2]=3f80000040000000 "
    "target[1]:int64=0000000000000001 gy[]=3f800000 ?y,d/input",
    "c/float64/smoke/p conv1d float64 stride=[1] padding=[[1,0]] x[1,1,0]= weight[1,1,2]=" + "0" * 32 + " bias=null "
    "gy[1,1,1]=3ff0000000000000 ?y,d/x,d/weight",
)


@pytest.mark.parametrize("text", EXAMPLES)
def test_the_examples_can_be_read(text: str) -> None:
    r = parse_line(text)
    assert r.wants[0] == "y"
    assert line(r).split() == text.split()


def test_values_are_what_they_look_like() -> None:
    r = parse_line(
        "a/b/c/d relu float32 i=-3 r=-0.5 e=1e-05 big=1e+300 t=true f=false n=null w=mean tuple=[1,2] "
        "pairs=[[1,0],[2,3]] none=[] a[2]=3f80000040000000 x[]=3f800000 gy[]=3f800000 ?y"
    )
    plain = {k: v for k, v in r.attrs.items() if not isinstance(v, np.ndarray)}
    assert plain == {
        **{"i": -3, "r": -0.5, "e": 1e-05, "big": 1e300, "t": True, "f": False, "n": None, "w": "mean"},
        **{"tuple": (1, 2), "pairs": ((1, 0), (2, 3)), "none": ()},
    }
    assert [type(plain[k]) for k in ("i", "r", "t")] == [int, float, bool]
    assert r.attrs["a"].tolist() == [1.0, 2.0]
    assert r.inputs["x"] is not None and r.inputs["x"].shape == ()


HEAD = "a/b/c/d relu float32 "


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "is not of the form ID OP DTYPE ITEMS ?WANTS"),
        ("a/b/c/d relu float32 gy[]=3f800000", "is not of the form ID OP DTYPE ITEMS ?WANTS"),
        ("a/b/c/d relu f32 gy[]=3f800000 ?y", "its dtype is 'f32', expected one of float16"),
        (HEAD + "x[]=3f800000 ?y", "has no gy"),
        (HEAD + "x[2]=3f800000 gy[]=3f800000 ?y", "x has 8 digits, expected 16: 8 for each of 2 float32"),
        (HEAD + "x[2500000000]=3f gy[]=3f800000 ?y", "x has 2 digits, expected 20000000000"),
        (HEAD + "x[2,]=3f800000 gy[]=3f800000 ?y", "the shape of x is [2,], expected sizes separated by commas"),
        (HEAD + "x[]=3g800000 gy[]=3f800000 ?y", "'x[]=3g800000' is neither NAME=VALUE nor NAME[SHAPE]=BITS"),
        (HEAD + "a=[1,2 gy[]=3f800000 ?y", "'' is not a value"),
        (HEAD + "a=1x gy[]=3f800000 ?y", "a is followed by 'x'"),
        (HEAD + "a=__import__('os') gy[]=3f800000 ?y", "is not a value"),
        (HEAD + "a=1 a=2 gy[]=3f800000 ?y", "a occurs twice"),
    ],
)
def test_a_request_that_is_none_gets_a_sentence(text: str, expected: str) -> None:
    with pytest.raises(ValueError, match=re.escape(expected)) as e:
        parse_line(text)
    assert "\n" not in str(e.value)


def test_an_unknown_op_gets_a_sentence() -> None:
    with pytest.raises(LookupError, match="unknown op 'sofmax', did you mean 'softmax'"):
        parse_line("a/b/c/d sofmax float32 gy[]=3f800000 ?y")


# --- answers ---------------------------------------------------------------------------------------------------------

R = parse_line(EXAMPLES[0])


def test_answers_can_be_read() -> None:
    y = np.array([0.5, 0.25, 0.25], np.float32)
    name, bits, skip, error = parse_answer(answer_line(R.id, {"y": y, "d/x": y}))
    assert (name, skip, error) == (R.id, None, None)
    back = read_results(R, bits)
    assert not back.errors and all(same(back.results[w], y) for w in R.wants)
    assert parse_answer(f"{R.id}   y=3F000000  d/x=3f000000")[1] == {"y": "3F000000", "d/x": "3f000000"}
    assert parse_answer("a/b SKIP no gelu here")[2:] == ("no gelu here", None)
    assert parse_answer("a/b SKIP")[2:] == ("no reason given", None)
    assert parse_answer("a/b ERR out of memory")[2:] == (None, "out of memory")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a/b", "it has no result"),
        ("a/b 3f800000", "'3f800000' is neither RESULT=BITS nor SKIP"),
        ("a/b z=3f800000", "'z=3f800000' is neither RESULT=BITS"),
        ("a/b y=00 y=00", "y occurs twice"),
    ],
)
def test_an_answer_that_is_none_gets_a_sentence(text: str, expected: str) -> None:
    with pytest.raises(ValueError, match=re.escape(expected)):
        parse_answer(text)


@pytest.mark.parametrize(
    ("bits", "expected"),
    [
        ({"y": "0" * 24}, ("d/x was not answered",)),
        ({"y": "0" * 23, "d/x": "0" * 24}, ("y has 23 digits, expected 24: 8 for each of 3 float32",)),
        ({"y": "0" * 48, "d/x": "0" * 24}, ("y has 48 digits, expected 24: 8 for each of 3 float32",)),
        ({"y": "g" * 24, "d/x": "0" * 24}, ("y has 'g' at place 0, expected hexadecimal digits",)),
        ({"y": "0" * 24, "d/x": "0" * 24, "d/z": ""}, ("d/z was not asked for",)),
    ],
)
def test_results_of_another_length_are_no_results(bits: dict[str, str], expected: tuple[str, ...]) -> None:
    assert read_results(R, bits).errors == expected


def results(**changes: Any) -> str:
    given = answer_message(7, {"y": np.zeros(3, np.float32), "d/x": np.zeros(3, np.float32)})
    for path, value in changes.items():
        place: Any = given
        *head, last = path.split("_")
        for key in head:
            place = place[key]
        place[last] = value
    return json.dumps(given)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{", "the answer: it is not JSON"),
        ("[]", "the answer is [], expected object"),
        ('{"seq": 7}', "the answer has no field 'results'"),
        ('{"seq": 7, "seq": 8, "results": {}}', "the field 'seq' occurs twice"),
        ('{"seq": "7", "results": {}}', "the answer.seq is '7', expected integer"),
        ('{"seq": 7, "skipped": false}', "the answer.skipped is False, expected True"),
        ('{"seq": 7, "skipped": true, "why": ""}', "the answer has the unknown field 'why'"),
        (results(rtol=1e-3), "the answer has the unknown field 'rtol'"),
        (results(results_y_bits=0), "the answer.results.y.bits is 0, expected string"),
        (results(results_y_dtype="float64"), "the answer.results.y.dtype is 'float64', expected 'int64'"),
        (results(results_z={"shape": [], "bits": ""}), "the answer.results.z is 'z'"),
    ],
)
def test_a_message_that_is_none_gets_a_sentence(text: str, expected: str) -> None:
    with pytest.raises(ValueError, match=re.escape(expected)) as e:
        parse_message(text, R, 7)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (results(results_y_shape=[2500000000]), "y has shape [2500000000], expected [3] of float32"),
        (results(results_y_shape=[1, 3]), "y has shape [1, 3], expected [3] of float32"),
        (results(results_y_bits="00"), "y.bits has 2 digits, expected 24: 8 for each of 3 float32"),
        (results(results_y_bits="0" * 48), "y.bits has 48 digits, expected 24"),
        ('{"seq": 7, "errored": true, "context": {"message": "out of memory"}}', "out of memory"),
        ('{"seq": 7, "errored": true, "context": {"code": 3}}', '{"code":3}'),
    ],
)
def test_results_that_are_wrong_are_errors(text: str, expected: str) -> None:
    assert expected in parse_message(text, R, 7).errors[0]


def test_an_answer_to_another_request_is_out_of_order() -> None:
    with pytest.raises(OutOfOrder, match="answered seq 7 when it was asked for 8"):
        parse_message(results(), R, 8)


def test_a_skip_keeps_its_reason() -> None:
    text = '{"seq": 7, "skipped": true, "message": "no vjp", "issue_url": "https://example.org/1"}'
    assert parse_message(text, R, 7).skip == "no vjp (https://example.org/1)"


def test_expected_values_are_never_sent() -> None:
    """Neither the line nor the message holds a digit of what is expected, nor a word for it."""
    for fixture, dtype in SUITE.select("sigmoid", families=["normal"]):
        sent = [line(request(fixture, dtype)), message(run_message(request(fixture, dtype), 1))]
        for text in sent:
            assert "expect" not in text and "bound" not in text and "class" not in text
            for e in fixture.expect.values():
                for part in (e.main.hi, e.main.hi.astype(dtype)):
                    digits = encode(part)[:16] if part.size else ""
                    assert not digits.strip("0") or digits not in text


def test_the_messages_of_the_page_are_valid() -> None:
    page = (data("FORMAT.md")).read_text(encoding="utf-8")
    sent = re.findall(r"^    → (\{.*\})$", page, re.MULTILINE)
    came = re.findall(r"^    ← (\{.*\})$", page, re.MULTILINE)
    assert json.loads(sent[0]) == start_message("2026.11.1")
    for text in sent:
        check(json.loads(text), "protocol", "message", json.loads(text)["cmd"])
    assert alike(parse_run(sent[1])[1], R)
    assert parse_started(came[0])["capabilities"]["ops"] == {"softmax": ["fwd", "vjp"]}
    kinds = ["results", "skipped", "errored"]
    for text, kind in zip(came[1:], kinds, strict=True):
        check(json.loads(text.replace('"..."', '""')), "protocol", "message", kind)


def test_the_lines_of_the_page_are_valid() -> None:
    page = data("FORMAT.md").read_text(encoding="utf-8")
    asked = [row.strip() for row in re.findall(r"^    (\S+ \w+ float32 .*\?y.*)$", page, re.MULTILINE)]
    assert len(asked) == 4
    assert alike(parse_line(asked[0]), R)
    for text in asked[1:]:  # shown with their digits left out
        shapes = re.findall(r"\[([0-9,]*)\](:int64)?=\.\.\.", text)
        whole = text
        for shape, _ in shapes:
            size = int(np.prod([int(n) for n in shape.split(",")], dtype=int))
            whole = whole.replace("=...", "=" + "0" * 8 * size, 1)
        assert parse_line(whole).wants[0] == "y"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"protocol": 2, "impl": {"name": "x"}}', "protocol is 2, expected 1"),
        ('{"protocol": 1}', "has no field 'impl'"),
        ('{"protocol": 1, "impl": {"name": "x", "licence": "y"}}', "impl has the unknown field 'licence'"),
        ('{"protocol": 1, "impl": {"name": "x"}, "capabilities": {"dtypes": ["f32"]}}', "dtypes[0] is 'f32'"),
        ('{"protocol": 1, "impl": {"name": "x"}, "capabilities": {"ops": {"relu": []}}}', "ops.relu has 0 entries"),
    ],
)
def test_a_program_that_introduces_itself_wrongly_gets_a_sentence(text: str, expected: str) -> None:
    with pytest.raises(ValueError, match=re.escape(expected)):
        parse_started(text)


def test_no_right_answer_is_longer_than_the_longest() -> None:
    for fixture, dtype in SUITE.select(dtype="float64"):
        r = request(fixture, dtype)
        shapes = {w: np.zeros(r.shape(w)) for w in r.wants}
        longest = max(len(answer_line(r.id, shapes)), len(message(answer_message(10**9, shapes))))
        assert longest < longest_answer(r)
