"""What the gates did, and which channels stay: two values, both readable JSON. No ML import."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from hwkeras.cost import BlockShape, Cost

STATS_FORMAT = "hwkeras-gates-1"
PLAN_FORMAT = "hwkeras-plan-1"
RANKINGS = ("update", "gate")
MEASURES = ("channel", "parameters", "macs", "latency")
NORMALIZERS = ("none", "lamp")


class PlanError(ValueError):
    """A plan that cannot be made, read or applied; the message says what to change."""


@dataclasses.dataclass(frozen=True)
class BlockStats:
    """What one block's gates did, one value for each active channel.

    Attributes:
        name: the block's layer name.
        shape: what its cost depends on.
        active: the stream channels that the block transforms, ascending.
        mean_gate: mean of t over images and positions.
        max_gate: largest t seen.
        mean_update: mean of |t * (h - c)|: how much the channel really changes.
        stream: the stream the block writes to, as `streams.find_streams` names it; None if its
            channels must stay in their order.
        reads: the stream it reads, likewise; without a projection the same.
    """

    name: str
    shape: BlockShape
    active: tuple[int, ...]
    mean_gate: tuple[float, ...]
    max_gate: tuple[float, ...]
    mean_update: tuple[float, ...]
    stream: str | None = None
    reads: str | None = None

    def scores(self, by: str) -> np.ndarray:
        """Returns the channels' scores `(k,)` under a ranking of `RANKINGS`."""
        return np.asarray(self.mean_update if by == "update" else self.mean_gate)

    def shape_without(self, cut: Mapping[str, int]) -> BlockShape:
        """Returns the block's shape when so many channels have left each stream, by name."""
        return dataclasses.replace(
            self.shape,
            in_channels=self.shape.in_channels - cut.get(self.reads or "", 0),
            channels=self.shape.channels - cut.get(self.stream or "", 0),
        )


@dataclasses.dataclass(frozen=True)
class StreamStats:
    """A stream whose channels can be cut, and what its layers would miss.

    Attributes:
        name: as `streams.find_streams` names it.
        channels: how many it has.
        need: how much its readers use each channel, from weights alone; 1 is what a reader uses of
            its average channel, and the reader that uses a channel most counts.
        rest: what one channel costs outside the blocks of the statistics: the outputs of the layer
            that makes it, the rows of those that read it, norms between.
        pairs: of layers that read this stream and make another, both by name: what one channel
            here and one there cost together. It is in the `rest` of both.
    """

    name: str
    channels: int
    need: tuple[float, ...]
    rest: Cost
    pairs: tuple[tuple[str, Cost], ...] = ()


@dataclasses.dataclass(frozen=True)
class GateStats:
    """What a model's gates did on a set of images.

    Attributes:
        model: digest of the model's blocks and weights.
        images: how many images were seen.
        rest: cost of everything outside the removable part of the blocks.
        blocks: one entry for each block that transforms at least one channel, in graph order.
        streams: those whose channels can be cut, in graph order.
    """

    model: str
    images: int
    rest: Cost
    blocks: tuple[BlockStats, ...]
    streams: tuple[StreamStats, ...] = ()

    def cost(
        self, kept: Mapping[str, int] | None = None, cut: Mapping[str, int] | None = None
    ) -> Cost:
        """Returns the model's cost, exactly.

        Args:
            kept: how many channels each block transforms, by name; else all that it does now.
            cut: how many channels leave each stream, by name; else none.

        Raises:
            PlanError: if channels are to leave a stream that the statistics do not know.
        """
        total, cut = self.rest, {name: count for name, count in (cut or {}).items() if count}
        for name in cut.keys() - {stream.name for stream in self.streams}:
            raise PlanError(
                f"the gate statistics know no stream {name!r} to cut: collect them again"
            )
        for stream in self.streams:
            gone = cut.get(stream.name, 0)
            total -= stream.rest * gone
            for other, cost in stream.pairs:
                total += cost * (gone * cut.get(other, 0))
        for block in self.blocks:
            shape = block.shape_without(cut)
            total += shape.cost(len(block.active) if kept is None else kept[block.name])
        return total

    def to_json(self) -> str:
        content = {"format": STATS_FORMAT, **dataclasses.asdict(self)}
        return _dump(content, rounded=True)

    @classmethod
    def from_json(cls, text: str) -> GateStats:
        """Raises PlanError if the text is no such statistics, or does not fit together."""
        content = _parse(text, STATS_FORMAT, "gate statistics")
        try:
            blocks = tuple(
                BlockStats(
                    name=str(block["name"]),
                    stream=block.get("stream"),
                    reads=block.get("reads"),
                    shape=BlockShape(
                        **{**block["shape"], "kernel": tuple(block["shape"]["kernel"])}
                    ),
                    **{
                        field: tuple(block[field])
                        for field in ("active", "mean_gate", "max_gate", "mean_update")
                    },
                )
                for block in content["blocks"]
            )
            for block in blocks:
                check_kept(block.name, block.active, range(block.shape.channels))
            streams = tuple(
                StreamStats(
                    str(stream["name"]),
                    int(stream["channels"]),
                    tuple(stream["need"]),
                    Cost(**stream["rest"]),
                    tuple((str(name), Cost(**cost)) for name, cost in stream["pairs"]),
                )
                for stream in content.get("streams", ())  # there were none once
            )
            rest = Cost(**content["rest"])
            stats = cls(str(content["model"]), int(content["images"]), rest, blocks, streams)
            cost = stats.cost(cut={stream.name: 1 for stream in streams})  # adds up all there are
            if not (isinstance(cost.parameters, int) and isinstance(cost.macs, int)):
                raise PlanError(f"broken gate statistics: expected whole costs; found {cost}")
        except PlanError:
            raise
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise PlanError(f"broken gate statistics: {error!r}") from None
        _check_names("gate statistics name", blocks)
        widths: dict[str, int] = {}
        for stream in streams:
            if stream.name in widths:
                raise PlanError(f"broken gate statistics: two streams are named {stream.name!r}")
            widths[stream.name] = stream.channels
            numbers = all(isinstance(value, (int, float)) for value in stream.need)
            if not numbers or len(stream.need) != stream.channels:
                expected = f"{stream.channels} numbers as need of stream {stream.name!r}"
                raise PlanError(f"broken gate statistics: expected {expected}")
        for block in blocks:
            for name, width in (
                (block.stream, block.shape.channels),
                (block.reads, block.shape.in_channels),
            ):
                if not isinstance(name, str | None):
                    raise PlanError(
                        f"broken gate statistics: block {block.name!r}: stream is no name"
                    )
                if name is not None and widths.setdefault(name, width) != width:
                    raise PlanError(
                        f"broken gate statistics: stream {name!r} has {widths[name]} channels and"
                        f" {width} at block {block.name!r}"
                    )
            for field in ("mean_gate", "max_gate", "mean_update"):
                values = getattr(block, field)
                numbers = all(isinstance(value, (int, float)) for value in values)
                if not numbers or len(values) != len(block.active):
                    expected = f"{len(block.active)} numbers as {field} of block {block.name!r}"
                    raise PlanError(f"broken gate statistics: expected {expected}")
        return stats


@dataclasses.dataclass(frozen=True)
class BlockPlan:
    """What stays of one block.

    Attributes:
        name: the block's layer name.
        channels: channels of its stream.
        active: how many of them it transforms before the plan is applied.
        kept: the stream channels that it still transforms afterwards, ascending.
    """

    name: str
    channels: int
    active: int
    kept: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class StreamOrder:
    """The channels of a stream in the slim model, and the order in which they stand there.

    Attributes:
        stream: as `streams.find_streams` names it.
        order: position p of the slim stream holds channel `order[p]` of the dense one.
        cut: the channels of the dense stream that the slim one has not, ascending.
    """

    stream: str
    order: tuple[int, ...]
    cut: tuple[int, ...] = ()

    @property
    def channels(self) -> int:
        """Channels of the dense stream."""
        return len(self.order) + len(self.cut)

    def check(self) -> None:
        """Raises PlanError unless order and cut hold every channel from 0 on, each once."""
        both = (*self.order, *self.cut)
        whole = all(type(channel) is int for channel in both)
        if not whole or sorted(both) != list(range(len(both))):
            what = "order and cut together are" if self.cut else "the order is"
            raise PlanError(
                f"stream {self.stream!r}: {what} no permutation of 0 to {len(both) - 1}"
            )
        if list(self.cut) != sorted(self.cut):
            raise PlanError(f"stream {self.stream!r}: cut channels must be ascending")
        if self.cut and not self.order:
            raise PlanError(f"stream {self.stream!r}: every channel is cut; one must stay")


@dataclasses.dataclass(frozen=True)
class PruningPlan:
    """Which channels stay, block by block.

    Attributes:
        model: digest of the model that the plan was made for.
        aim: what was asked for, in words.
        by: the ranking used, "update" or "gate"; "hand" for kept channels given by hand.
        normalizer: how scores of different blocks were made comparable, of `NORMALIZERS`.
        per: what the scores were divided by, of `MEASURES`.
        cutoff: score, so normalized and divided, under which channels go; None for a plan by hand
            or in rounds, or that keeps only channels which cost nothing.
        blocks: in graph order.
        orders: of the streams whose channels move or are cut. Moving changes the graph's form, not
            its answers.
    """

    model: str
    aim: str
    by: str
    normalizer: str
    per: str
    cutoff: float | None
    blocks: tuple[BlockPlan, ...]
    orders: tuple[StreamOrder, ...] = ()

    @property
    def ranking(self) -> str:
        """What channels were ranked by, in words."""
        if self.by == "hand":
            return self.by
        units = {"parameters": "parameter", "macs": "multiply-accumulate", "latency": "millisecond"}
        share = " as a share of what its block still does" * (self.normalizer == "lamp")
        unit = f" per {units[self.per]}" if self.per in units else ""
        return f"mean {self.by}{share}{unit}"

    @property
    def kept_counts(self) -> dict[str, int]:
        return {block.name: len(block.kept) for block in self.blocks}

    @property
    def cut_counts(self) -> dict[str, int]:
        return {order.stream: len(order.cut) for order in self.orders if order.cut}

    def to_json(self) -> str:
        return _dump({"format": PLAN_FORMAT, **dataclasses.asdict(self)})

    @classmethod
    def from_json(cls, text: str) -> PruningPlan:
        """Raises PlanError if the text is no plan, names a block twice or a channel wrongly."""
        content = _parse(text, PLAN_FORMAT, "pruning plan")
        try:
            blocks = tuple(
                BlockPlan(
                    str(block["name"]),
                    int(block["channels"]),
                    int(block["active"]),
                    tuple(block["kept"]),
                )
                for block in content["blocks"]
            )
            orders = tuple(
                StreamOrder(
                    str(entry["stream"]), tuple(entry["order"]), tuple(entry.get("cut", ()))
                )
                for entry in content.get("orders", ())
            )
            plan = cls(
                content["model"], content["aim"], content["by"],
                str(content.get("normalizer", "none")),  # the only one there once was
                str(content.get("per", "channel")),  # likewise
                content["cutoff"], blocks, orders,
            )  # fmt: skip
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise PlanError(f"broken pruning plan: {error!r}") from None
        _check_names("plan names", blocks)
        for block in blocks:
            check_kept(block.name, block.kept, range(block.channels))
        for order in orders:
            order.check()
        return plan


def _check_names(what: str, blocks: Sequence[BlockStats | BlockPlan]) -> None:
    names = [block.name for block in blocks]
    for name in names:
        if names.count(name) > 1:
            raise PlanError(f"the {what} block {name!r} twice")


def check_kept(name: str, kept: Sequence[int], allowed: Collection[int]) -> None:
    """Raises PlanError unless the kept channels are ascending and all allowed."""
    for channel in kept:
        if isinstance(channel, bool) or not isinstance(channel, (int, np.integer)):
            raise PlanError(f"block {name!r}: channel {channel!r} is no whole number")
        if channel not in allowed:
            raise PlanError(f"block {name!r} transforms no channel {channel}")
    if list(kept) != sorted(set(kept)):
        raise PlanError(f"block {name!r}: kept channels must be ascending, each once")


def _dump(content: dict[str, Any], rounded: bool = False) -> str:
    """Returns JSON with one field a line and one block a line, so that a diff shows blocks."""

    def compact(value):
        if rounded and isinstance(value, float):
            return float(f"{value:.6g}")
        if isinstance(value, (list, tuple)):
            return [compact(item) for item in value]
        if isinstance(value, dict):
            return {key: compact(item) for key, item in value.items()}
        return value

    fields = []
    for key, value in content.items():
        if key in ("blocks", "streams", "orders") and value:
            lines = ",\n".join(f"    {json.dumps(compact(item))}" for item in value)
            fields.append(f"  {json.dumps(key)}: [\n{lines}\n  ]")
        else:
            fields.append(f"  {json.dumps(key)}: {json.dumps(compact(value))}")
    return "{\n" + ",\n".join(fields) + "\n}\n"


def _parse(text: str, form: str, what: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise PlanError(f"expected a {what}, found broken JSON: {error}") from None
    found = content.get("format") if isinstance(content, dict) else type(content).__name__
    if found != form:
        raise PlanError(f"expected a {what} of format {form!r}; found {found!r}")
    return content
