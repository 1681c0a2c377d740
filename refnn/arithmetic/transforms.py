r"""How far convolutions by Fourier transforms are off, as functions of the magnitudes of what is transformed.

With transforms whose lengths are powers of two, L the sum of their logarithms, and twiddle factors within 3u/2, every
element of a convolution errs by at most

    ||x|| ||w|| ((1 + u)^(3L) (1 + sqrt(5) u)^(3L + 1) (1 + 3u/2)^(3L) - 1)  <=  (16 L + 3) u ||x|| ||w||

in 2-norms (Percival, Math. Comp. 72 (2003) 387, theorem 5.1; the second step for L <= 1/(80 u)), and by C u more where
C products are added before the inverse transform: the norms are those of each channel, and their products add up.
What a transform loses below the normal range is in each of its M places less than u times the number where that begins,
as if its vector were longer by sqrt(M) of those.

To be expected is much less. If roundings are independent, uniform variables, of variance u^2/3 at most, a stage of a
transform adds u^2 (1/2 + 1/3) of its energy to the variance (three roundings of half of it, for the twiddle factor, its
products and their sum, and one of all), spread evenly over its places (Gentleman and Sande, AFIPS Fall Joint Computer
Conference 29 (1966) 563: relative to the norm an error of about u sqrt(L)). The error of a transform of x is white, and
so after its product with that of w and the inverse transform of M places: the variance of an element is

    u^2 (5L/6) (2 ||x||^2 ||w||^2 / M + rms(y)^2) + ...

for both factors, and for the inverse transform of y, whose energy is M rms(y)^2; the products themselves add as much as
a stage or less. Transforms in tiles have fewer places, and as much less energy each if x is alike everywhere; the M
here is at most 16 an axis, the larger of the two transforms that NNPACK has, so that it need not be.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

TILE = 16


def norm(x: np.ndarray, shape: tuple[int, ...], rank: int) -> np.ndarray:
    """The 2-norms of x over its last `rank` axes, in that shape; no square overflows or vanishes."""
    rows = np.reshape(x, (*shape, math.prod(x.shape[x.ndim - rank :])))
    scale = np.max(rows, axis=-1, keepdims=True, initial=0.0)
    scale = np.where(scale > 0, scale, 1.0)
    return np.asarray(np.sqrt(np.sum(np.square(rows / scale), axis=-1)) * scale[..., 0])


@dataclass(frozen=True)
class Transformed:
    """A convolution over `rank` axes by transforms of these `lengths` at most, and of `places` at least.

    `letters` say which norms of its factors meet, as those of np.einsum: n is the batch, g a group, c one of its
    channels of x and o one of its channels of y; what is not in the result is summed.
    """

    letters: str
    groups: int
    lengths: tuple[int, ...]
    places: int

    def _norms(self, x: np.ndarray, letters: str) -> np.ndarray:
        rank = len(self.lengths)
        lead = x.shape[: x.ndim - rank]
        if letters[0] == "g":  # a weight
            return norm(x, (self.groups, lead[0] // self.groups, lead[1]), rank)
        batch = lead[0] if len(lead) == 2 else 1
        return norm(x, (batch, self.groups, lead[-1] // self.groups), rank)

    def _pairs(self, floor: float, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        factors = self.letters.split("->")[0].split(",")
        least = floor * math.sqrt(math.prod(self.lengths))
        first, second = (self._norms(x, letters) + least for x, letters in zip((a, b), factors, strict=True))
        return first, second

    def _placed(self, y: np.ndarray, each: np.ndarray) -> np.ndarray:
        """One number a channel, to be broadcast against y."""
        rank = len(self.lengths)
        return each.reshape(*y.shape[: y.ndim - rank], *[1] * rank)

    def worst(self, floor: float, y: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """The bound, in unit roundoffs."""
        factors, result = self.letters.split("->")
        first, second = self._pairs(floor, a, b)
        (summed,) = set(factors) - {","} - set(result)
        count = first.shape[factors.index(summed)]
        steps = 16 * sum(n.bit_length() - 1 for n in self.lengths) + 3 + count
        return self._placed(y, steps * (np.einsum(self.letters, first, second) + floor))

    def expected(self, floor: float, y: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """The standard deviation, in unit roundoffs."""
        first, second = self._pairs(floor, a, b)
        sizes = [np.max(x, initial=0.0) for x in (first, second)]
        scale = [s if 0 < s < np.inf else 1.0 for s in sizes]
        energy = np.einsum(self.letters, np.square(first / scale[0]), np.square(second / scale[1]))
        stage = 5 * sum(n.bit_length() - 1 for n in self.lengths) / 6 + 1
        spread = np.sqrt(2 * stage * energy / self.places) * (scale[0] * scale[1])
        rank, cells = len(self.lengths), math.prod(y.shape[y.ndim - len(self.lengths) :])
        rms = norm(y, y.shape[: y.ndim - rank], rank) / math.sqrt(cells)
        return np.asarray(np.hypot(self._placed(y, spread), math.sqrt(stage) * self._placed(y, rms)))

    def reach(self, floor: float, y: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """How large numbers may become on the way: inverse transforms divide by their length at the end."""
        return self._placed(y, math.prod(self.lengths) ** 1.5 * np.einsum(self.letters, *self._pairs(floor, a, b)))
