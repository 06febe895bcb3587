"""What highway blocks cost on a device, in time: a table measured there. Stdlib and NumPy only."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hwkeras.cost import BlockShape

LATENCY_FORMAT = "hwkeras-latency-1"


class LatencyError(ValueError):
    """A latency table that cannot be read, or that lacks a block; one line."""


@dataclasses.dataclass(frozen=True)
class BlockLatency:
    """The time of one shape of block.

    Attributes:
        shape: of the block.
        kept: numbers of channels it was measured with, ascending, from 0.
        milliseconds: over those of a block that transforms none, one for each of `kept`.
    """

    shape: BlockShape
    kept: tuple[int, ...]
    milliseconds: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class LatencyTable:
    """What blocks cost on one device.

    Attributes:
        device: where it was measured, in words.
        variant: type it was measured in, "float32" or "int8".
        threads: of the runtime.
        rest_ms: time of the net when no block transforms anything.
        dense_ms: measured time of the dense net, to compare the sum with.
        blocks: one entry for each shape.
    """

    device: str
    variant: str
    threads: int
    rest_ms: float
    dense_ms: float
    blocks: tuple[BlockLatency, ...]

    def milliseconds(self, shape: BlockShape, kept) -> Any:
        """Returns the time of a block that transforms `kept` channels, a number or an array of
        them; between two measurements on the line that joins them.

        Raises:
            LatencyError: if no such block was measured.
        """
        for block in self.blocks:
            if block.shape == shape:
                return np.interp(kept, block.kept, block.milliseconds)
        raise LatencyError(
            f"the latency table has no block of {shape.channels} channels on {shape.positions}"
            f" positions that reads {shape.in_channels}; measure this model: hwkeras latency"
        )

    def total_ms(self, blocks: Mapping[str, BlockShape], kept: Mapping[str, int]) -> float:
        """Returns the time of a net whose blocks transform so many channels."""
        times = (self.milliseconds(shape, kept[name]) for name, shape in blocks.items())
        return self.rest_ms + float(sum(times))

    def to_json(self) -> str:
        content = {"format": LATENCY_FORMAT, **dataclasses.asdict(self)}
        blocks = ",\n".join(f"    {json.dumps(block)}" for block in content.pop("blocks"))
        head = json.dumps(content, indent=2)[:-2]
        return f'{head},\n  "blocks": [\n{blocks}\n  ]\n}}\n'

    @classmethod
    def from_json(cls, text: str) -> LatencyTable:
        """Raises LatencyError if the text is no latency table, or a count or time is impossible."""
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:  # not only broken: a number may be too long
            raise LatencyError(f"expected a latency table, found broken JSON: {error}") from None
        found = content.pop("format", None) if isinstance(content, dict) else type(content).__name__
        if found != LATENCY_FORMAT:
            raise LatencyError(
                f"expected a latency table of format {LATENCY_FORMAT!r}; found {found!r}"
            )
        try:
            blocks = tuple(
                BlockLatency(
                    BlockShape(**{**block["shape"], "kernel": tuple(block["shape"]["kernel"])}),
                    tuple(block["kept"]),
                    tuple(_time(value) for value in block["milliseconds"]),
                )
                for block in content.pop("blocks")
            )
            for name in ("rest_ms", "dense_ms"):
                content[name] = _time(content[name])
            table = cls(**content, blocks=blocks)
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise LatencyError(f"broken latency table: {error!r}") from None
        for block in blocks:
            shape, kept = block.shape, block.kept
            sizes = (shape.in_channels, shape.channels, shape.positions, *shape.kernel)
            if not all(type(size) is int and size > 0 for size in sizes):
                raise LatencyError("broken latency table: a block's shape is no whole numbers")
            if not all(type(count) is int for count in kept) or list(kept) != sorted(set(kept)):
                raise LatencyError("broken latency table: kept counts must be ascending")
            if not kept or kept[0] != 0 or kept[-1] > shape.channels:
                expected = f"0 to at most {shape.channels}"
                raise LatencyError(f"broken latency table: kept counts must go from {expected}")
            if len(kept) != len(block.milliseconds):
                raise LatencyError("broken latency table: expected one time for each kept count")
        times = [time for block in blocks for time in block.milliseconds]
        if not all(math.isfinite(time) for time in (table.rest_ms, table.dense_ms, *times)):
            raise LatencyError("broken latency table: a time is not finite")
        if min(table.rest_ms, table.dense_ms, *times) < 0:
            raise LatencyError("broken latency table: a time is below 0")
        if not any(times):
            raise LatencyError("broken latency table: no block takes any time")
        return table


def _time(value: Any) -> float:
    if type(value) not in (int, float):
        raise TypeError(f"{value!r} is no time")
    return float(value)


def read_latency(path: str | Path) -> LatencyTable:
    """Returns the latency table in a file; raises LatencyError naming the file."""
    try:
        return LatencyTable.from_json(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise LatencyError(f"{path}: cannot be read as a latency table: {error}") from None
    except LatencyError as error:
        raise LatencyError(f"{path}: {error}") from None
