"""Fixtures as a C header and as an archive: the same numbers as in the files."""

from __future__ import annotations

import io
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from compiler import CC

from refnn.suite.export import _ends, c_header, npz
from refnn.suite.fixture import request
from refnn.suite.read import Suite
from refnn.suite.rule import accepts
from refnn.wire.encoding import encode

SUITE = Suite()
OPS = "softmax,max_pool1d,nll_loss,cross_entropy,relu,threshold,tanh,flatten,conv1d"

PRINTED = r"""
#include <stdio.h>
#include "fixtures.h"

static void bits(const void *p, long n, int width)
{
    printf(" ");
    for (long i = 0; i < n; i++)
        if (width == 4) printf("%08x", (unsigned)((const uint32_t *)p)[i]);
        else printf("%016llx", (unsigned long long)((const uint64_t *)p)[i]);
}

static void places(const long *p, long n)
{
    printf(" ");
    for (long i = 0; p && i < n; i++) printf(i ? ",%ld" : "%ld", p[i]);
}

static void claim(const refnn_claim *c)
{
    printf(" %d '%s' %s", c->kind, c->name, c->letters);
    places(c->at, c->size);
    bits(c->hi, c->size, 8); bits(c->lo, c->size, 8); bits(c->bound, c->size, 8);
    if (c->first) { bits(c->first, c->size, 4); bits(c->last, c->size, 4); }
    printf("\n");
}

int main(void)
{
    for (int i = 0; i < REFNN_CASES; i++) {
        const refnn_case *c = &refnn_cases[i];
        printf("%s|%s|%s|%s\n", c->id, c->op, c->dtype, c->attrs);
        for (int k = 0; k < c->inputs; k++) {
            const refnn_tensor *t = &c->input[k];
            printf("%s", t->name);
            places(t->shape, t->rank);
            printf(" %d", t->integer);
            bits(t->bits, t->size, t->width);
            printf("\n");
        }
        for (int k = 0; k < c->results; k++) {
            const refnn_result *r = &c->result[k];
            printf("%s", r->name);
            for (int a = 0; a < r->claims; a++) claim(&r->claim[a]);
            for (int g = 0; g < r->groups; g++) {
                printf("group");
                places(r->group[g].at, r->group[g].size);
                bits(&r->group[g].hi, 1, 8); bits(&r->group[g].lo, 1, 8); bits(&r->group[g].bound, 1, 8);
                printf("\n");
            }
        }
    }
    return 0;
}
"""


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_c_program_reads_what_the_files_say(dtype: str, tmp_path: Path) -> None:
    if CC is None:
        pytest.skip("there is no C compiler")
    cases = [*SUITE.select(OPS, dtype)]
    (tmp_path / "fixtures.h").write_bytes(c_header(cases, SUITE))
    (tmp_path / "main.c").write_text(PRINTED)
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic"]
    subprocess.run([CC, *flags, "main.c", "-o", "main"], cwd=tmp_path, check=True)
    rows = subprocess.run([tmp_path / "main"], capture_output=True, text=True, check=True).stdout.splitlines()
    expected = []
    for fixture, working in cases:
        r = request(fixture, working)
        plain = {n: v for n, v in r.attrs.items() if not isinstance(v, np.ndarray)}
        expected.append((fixture.id, fixture.op, working, len(plain)))
        arrays = {**{n: v for n, v in r.attrs.items() if n not in plain}, **r.inputs, "gy": r.cotangent}
        for name, x in arrays.items():
            if x is not None:
                shape = ",".join(map(str, x.shape))
                expected.append(f"{name} {shape} {int(x.dtype.kind == 'i')} {encode(x)}")
        for want, e in fixture.expect.items():
            for i, c in enumerate((e.main, *(c for c in e.also if dtype in c.bounds))):
                kind = ("", "special", "convention", "class").index(c.kind)
                at = "" if c.at is None else ",".join(map(str, c.at))
                ends = _ends(c) if dtype == "float32" else ()
                numbers = " ".join(map(encode, (c.hi, c.lo, c.bounds[dtype], *ends)))
                expected.append(f"{want * (i == 0)} {kind} '{c.name}' {c.letters} {at} {numbers}")
            for g in e.groups:
                numbers = " ".join(encode(np.array([v])) for v in (g.hi, g.lo, g.bounds[dtype]))
                expected.append(f"group {','.join(map(str, g.at))} {numbers}")
    assert len(rows) == len(expected) > 500
    for row, wanted in zip(rows, expected, strict=True):
        if isinstance(wanted, tuple):
            *head, attrs = row.split("|")
            assert tuple(head) == wanted[:3] and len(attrs.split()) == wanted[3]
        else:
            assert row == wanted


def test_the_ends_of_the_header_accept_what_the_rule_accepts() -> None:
    """For every float next to the ends: between them it passes, beyond it fails."""
    tried = 0
    for fixture, _ in SUITE.select(OPS, "float32"):
        for c in (c for e in fixture.expect.values() for c in (e.main, *e.also) if "float32" in c.bounds):
            numeric = np.isin([*c.letters], ["f", "r"])
            first, last = _ends(c)
            for end, way in ((first, -1), (last, 1)):
                for steps in range(-3, 4):
                    x = end
                    for _ in range(abs(steps)):
                        with np.errstate(over="ignore"):
                            x = np.nextafter(x, np.float32(np.copysign(np.inf, way * steps)))
                    rule = accepts(c, x.astype(np.float64), "float32")
                    ends = (x >= first) & (x <= last)
                    assert np.array_equal(rule[numeric], ends[numeric]), fixture.id
                    tried += int(numeric.sum())
    assert tried > 10_000


def test_an_archive_holds_the_same_without_pickle() -> None:
    cases = [*SUITE.select("softmax,max_pool1d,cross_entropy", families=["hard", "special"])]
    content = npz(cases, SUITE)
    assert content == npz(cases, SUITE)
    with np.load(io.BytesIO(content), allow_pickle=False) as found:
        assert found["ids"].tolist() == [f.id for f, _ in cases]
        for (fixture, dtype), attrs in zip(cases, found["attrs"].tolist(), strict=True):
            assert json.loads(attrs).keys() == fixture.attrs.keys()
            assert encode(found[f"{fixture.id}/gy"]) == encode(fixture.cotangent)
            for want, e in fixture.expect.items():
                place = f"{fixture.id}/{want}"
                assert "".join(found[f"{place}/class"].tolist()) == e.main.letters
                for part, x in (("hi", e.main.hi), ("lo", e.main.lo), ("bound", e.main.bounds[dtype])):
                    assert np.array_equal(found[f"{place}/{part}"], x)
                for i, g in enumerate(e.groups):
                    assert np.array_equal(found[f"{place}/groups/{i}/at"], g.at)
