"""One convention for five sources, and for a program in C: what each calls the same thing, and how it counts.

A row of a table is a quantity. Its cell for refnn names it with its indices, `W[n, j, i]`; the other cells say under
which letter and which indices a source has it, `w[n + 1, i + 1, j + 1]`, and are empty where it has none. `letters`
turns quantities into those of a source. CONVENTIONS.md, the page, is written by `python -m derivations`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from derivations.ledger import KEYS
from derivations.page import Block, Heading, Paragraph, Table

Quantities = Mapping[str, Mapping[tuple[int, ...], Any]]  # by letter, then by indices

RULES = (
    "Everything is counted from 0. Layer 0 is the input; layers with parameters are n = 1, ..., N - 1, and parameters "
    "carry the number of the layer that they enter.",
    "Weights are (out, in), kernels (out, in, row, column), maps (channel, row, column), and batches come first. "
    "Flattening takes the channels one after the other, each row by row: (c, h, w) goes to (c H + h) W + w.",
    "a is the value before the activation, x that after it, y the prediction and t the target.",
    "d is the derivative of one sample's loss by a: with the derivative of the activation in it, and without 1/S. That "
    "comes in once, at the gradients of the parameters.",
    "Losses are those of a sample, cross-entropy without 1/M and squared error with 1/2. The objective is their mean "
    "over the batch; weight decay is added once a step.",
    "A gradient has the shape of what it is the gradient of.",
    "Convolution means cross-correlation. Its size is floor((L + 2 P - F) / S) + 1; padding is 0 for it and for means, "
    "and never wins a maximum.",
    "At kinks: ReLU 0, leaky, parametric and randomized ReLU and ELU their slope alpha, SELU lambda alpha, hardtanh 0, "
    "the absolute value 0; of several maxima the first in scan order.",
    "Hidden layers are affine maps with an activation behind them; the last is affine, and its head (softmax, logistic "
    "or linear) is fused with its loss. cnnmath's activation on the last layer is an option.",
)


@dataclass(frozen=True)
class Row:
    """A quantity, and what each calls it."""

    meaning: str
    refnn: str
    c: str = ""
    challa2023: str = ""
    challa2022: str = ""
    you2022: str = ""
    cnnmath: str = ""
    katsaros: str = ""


def _row(meaning: str, cells: str) -> Row:
    return Row(meaning, *(cell.strip() for cell in cells.split("|")))


# you2022 has one output and no hidden layer, and cnnmath's last layer L is that of the prediction.
DENSE = (
    _row("layers", "N | N | N | N | | L"),
    _row("samples of a batch", "S | S | S | S | m | m"),
    _row("nodes of layer n", "J[n] | J[n] | J[n] | J[n + 1] | n | s[n + 1]"),
    _row("outputs", "M | M | M | M"),
    _row(
        "weight from node i to node j of layer n",
        "W[n, j, i] | W[n, j, i] | w[n, i, j] | w[n + 1, i + 1, j + 1] | w[i + 1] | W[n, j + 1, i + 1]",
    ),
    _row("bias", "b[n, j] | B[n, j] | b[n, j] | b[n + 1, j + 1] | b | b[n, j + 1]"),
    _row(
        "value of node j for sample k, before the activation",
        "a[n, k, j] | | a[n, j, k] | a[n + 1, j + 1, k + 1] | | x[n + 1, j + 1, k + 1]",
    ),
    _row(
        "after it; for n = 0 the sample",
        "x[n, k, j] | X[n, j] | x[n, j, k] | x[n + 1, j + 1, k + 1] | x[k + 1, j + 1] | y[n + 1, j + 1, k + 1]",
    ),
    _row("prediction", "y[k, j] | X[N - 1, j] | y[j, k] | y[j + 1, k + 1] | y_tilde[k + 1] | y[L, j + 1, k + 1]"),
    _row("target", "t[k, j] | t[j] | y_hat[j, k] | y_hat[j + 1, k + 1] | y[k + 1] | Y[j + 1, k + 1]"),
    _row("factor of dropout, mask / (1 - p)", "D[n, k, j] | D[n, j] | D[n, j, k]"),
    _row(
        "derivative of the sample's loss by a",
        "d[n, k, j] | dLa[n, j] | dLa[n, j, k] | dA[n + 1, j + 1, k + 1] | u[k + 1] | delta[n + 1, j + 1, k + 1]",
    ),
    _row(
        "gradient of the objective by the weight",
        "dW[n, j, i] | dW[n, j, i] | dw[n, i, j] | dw[n + 1, i + 1, j + 1] | dw[i + 1] | dW[n, j + 1, i + 1]",
    ),
    _row("by the bias", "db[n, j] | dB[n, j] | db[n, j] | db[n + 1, j + 1] | db | db[n, j + 1]"),
)

# A sample at a time. challa2023 has one row of pixels only, r = 0; cnnmath counts from 0 here.
CONVOLUTION = (
    _row("channels of layer n", "C[n] | J[n] | J[n] | | | n[n + 1] | d[n + 1]"),
    _row("columns", "Q[n] | Q[n] | Q[n] | | | w[n + 1] | B[n + 1]"),
    _row("rows", "H[n] | | | | | h[n + 1] | L[n + 1]"),
    _row("columns of a kernel; cnnmath and katsaros: of rows too", "F[n] | FS[n] | FS[n] | | | f[n] | F[n]"),
    _row(
        "kernel from channel i to channel o",
        "K[n, o, i, r, s] | fw[n, o, i, s] | fw[n, i, o, s] | | | W[n, r, s, o, i] | w[o + 1, n, r + 1, s + 1, i + 1]",
    ),
    _row("bias", "b[n, o] | B[n, o] | b[n, o] | | | b[n, o] | b[o + 1, n]"),
    _row("before the activation", "a[n, o, r, s] | | fa[n, o, s] | | | x[n + 1, r, s, o]"),
    _row(
        "after it",
        "x[n, i, r, s] | fx[n, i, s] | fx[n, i, s] | | | y[n + 1, r, s, i] | h[n + 1, r + 1, s + 1, i + 1]",
    ),
    _row("derivative of the loss by a", "d[n, o, r, s] | dFLa[n, o, s] | dFLa[n, o, s] | | | delta[n + 1, r, s, o]"),
    _row("gradient by the kernel", "dK[n, o, i, r, s] | dW[n, o, i, s] | dfw[n, i, o, s] | | | dW[n, r, s, o, i]"),
    _row("by the bias", "db[n, o] | dB[n, o] | db[n, o] | | | db[n, o]"),
)

WORDS = (
    _row("step size", "rate | | eta | eta | alpha | eta"),
    _row("activation", "g | | g | f | | f_a | G, f"),
    _row("size of a pooling window", "kernel_size | | | | | | P"),
    _row("stride, padding", "stride, padding | | 1, 0 | | | 1, 0 | S, any"),
)


# --- from one to the other -------------------------------------------------------------------------------------------


def parsed(cell: str) -> tuple[str, list[str]]:
    """The letter of a cell and its indices: "w", ["n + 1", "j"] for "w[n + 1, j]"."""
    letter, _, index = cell.removesuffix("]").partition("[")
    return letter, index.split(", ") if index else []


def letters(table: tuple[Row, ...], column: str, quantities: Quantities, **sizes: int) -> dict[str, dict[Any, Any]]:
    """Quantities of refnn under the letters and the indices of a column; `sizes` are numbers that cells take for known.

    ValueError where one place would have two values.
    """
    found: dict[str, dict[Any, Any]] = {}
    for row in table:
        own, names = parsed(row.refnn)
        letter, places = parsed(getattr(row, column))
        for indices, value in quantities.get(own, {}).items() if letter else ():
            known = {**sizes, **dict(zip(names, indices, strict=True))}
            at = tuple(known[name] + int("".join(more) or 0) for name, *more in map(str.split, places))
            if at in found.setdefault(letter, {}):
                raise ValueError(f"{column} has two values for {letter}{list(at)}, one of them as {row.meaning!r}")
            found[letter][at] = value
    return found


# --- the page --------------------------------------------------------------------------------------------------------

GRADIENTS, PARTIAL = ("dw", "dW", "db", "dfw"), r"\partial L/\partial "
LATEX = {"y_hat": r"\hat y", "y_tilde": r"\tilde y", "delta": r"\delta", "eta": r"\eta", "alpha": r"\alpha"}


def page() -> list[Block]:
    """The convention and the tables."""
    return [
        Heading(1, "One convention for five sources"),
        Paragraph("Written by `python -m derivations`; do not edit. A test reads the tables: it takes what refnn's ops "
                  "compute, names it as a source does, and finds that source's equations fulfilled. The letters in C "
                  "are those of challa2023 in `refnn/teaching/storage.py`, which has one sample at a time; there dW "
                  "and dB are sums over the batch until the update divides them."),
        *map(Paragraph, (f"{n}. {rule}" for n, rule in enumerate(RULES, 1))),
        *_table("Dense layers", DENSE),
        *_table("Convolution", CONVOLUTION),
        *_table("Names", WORDS),
    ]  # fmt: skip


def _table(title: str, rows: tuple[Row, ...]) -> Iterator[Block]:
    yield Heading(2, title)
    header = ("", "refnn", "in C", *KEYS)
    body = (
        (r.meaning, f"`{r.refnn}`", f"`{r.c}`" if r.c else "", *(_latex(getattr(r, k)) for k in KEYS)) for r in rows
    )
    yield Table(header, tuple(body))


def _latex(cell: str) -> str:
    """A cell of a source in mathematics: an index that counts layers is a superscript."""
    letter, places = parsed(cell)
    low, high = ([p.replace(" ", "") for p in places if (p[0] in "nL") == layer] for layer in (False, True))
    gradient = letter in GRADIENTS
    plain = letter[gradient:]
    written = LATEX.get(letter, rf"\mathit{{{plain}}}" if plain[1:].isalpha() else plain)
    written += f"^{{{','.join(high)}}}" * bool(high) + f"_{{{','.join(low)}}}" * bool(low)
    return f"${PARTIAL * gradient}{written}$" if cell else ""
