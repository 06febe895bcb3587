"""Does compression multiply with pruning: what each saves alone, and what both save together."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from export.measurement import Measurement

# What is compared, by the field of a `Measurement`.
QUANTITIES = {"size_bytes": "bytes", "gzip_bytes": "gzip bytes", "latency_ms": "latency"}


@dataclasses.dataclass(frozen=True)
class Product:
    """How many times less than the dense float32 file, of one quantity.

    Attributes:
        quantity: one of `QUANTITIES`' values.
        variant: the compression.
        alone: of the dense model in this variant.
        cut: of the slim model in float32.
        together: of the slim model in this variant.
    """

    quantity: str
    variant: str
    alone: float
    cut: float
    together: float

    @property
    def expected(self) -> float:
        """The product of the factors: what both would save if neither stood in the other's way."""
        return self.alone * self.cut

    @property
    def ratio(self) -> float:
        """1 where compression and pruning are orthogonal, less where one takes from the other."""
        return self.together / self.expected

    def facts(self) -> dict[str, Any]:
        """Returns all of it as JSON holds it."""
        return dataclasses.asdict(self) | {"expected": self.expected, "ratio": self.ratio}


def products(measurements: Sequence[Measurement]) -> list[Product]:
    """Returns the test for each quantity, and each variant of both the dense and the slim model."""
    found = {(row.model, row.variant): row for row in measurements}
    variants = dict.fromkeys(row.variant for row in measurements if row.variant != "float32")
    tests = []
    for field, quantity in QUANTITIES.items():
        for variant in variants:
            whole, cut, alone, together = (
                getattr(found.get((model, kind)), field, None)
                for kind in ("float32", variant)
                for model in ("dense", "slim")
            )
            if whole and cut and alone and together:
                tests.append(
                    Product(quantity, variant, whole / alone, whole / cut, whole / together)
                )
    return tests
