"""What else a channel's score could be than its mean update: cut, recalibrated, not trained.

    python benchmarks/scores.py RUN -o results/cifar10/scores.json --parameters 0.15

All scores are of the update u = t (h - c) over images and positions. "compensated" also gives the
gates, as biases, what the cut h fed them on average.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click
import numpy as np
from figures import write_figures

IMAGES = 2000  # of the training split, for scores and batch norms
BATCH = 250
SCORES = {
    "mean |u|": lambda size, mean, square: size,
    "root mean square": lambda size, mean, square: np.sqrt(square),
    "standard deviation": lambda size, mean, square: np.sqrt(np.maximum(square - mean**2, 0)),
    "mean square": lambda size, mean, square: square,
    "variance": lambda size, mean, square: np.maximum(square - mean**2, 0),
}


def moments(model, images) -> dict[str, dict[str, np.ndarray]]:
    """Returns, by block, the means over images and positions of |u|, u, u^2 and h `(channels,)`."""
    import keras

    from hwkeras.graph import highway_blocks

    blocks = highway_blocks(model)
    ends = keras.Model(model.input, {name: (b.input, b.output) for name, b in blocks.items()})
    sums: dict[str, list[np.ndarray]] = {}
    count = len(images) // BATCH
    for start in range(0, count * BATCH, BATCH):
        for name, (x, y) in ends.predict_on_batch(images[start : start + BATCH]).items():
            block = blocks[name]
            carry = x if block.projection is None else np.asarray(block.projection(x))
            update = (y - carry).astype(np.float64)
            h = np.asarray(block.transform(keras.ops.relu(block.norm(x))), np.float64)
            found = [v.mean((0, 1, 2)) for v in (np.abs(update), update, update**2, h)]
            before = sums.setdefault(name, [np.zeros_like(v) for v in found])
            sums[name] = [a + b / count for a, b in zip(before, found, strict=True)]
    return {name: dict(zip(("size", "mean", "square", "h"), s, strict=True))
            for name, s in sums.items()}  # fmt: skip


def compensate(dense, slim, plan, found) -> None:
    """Adds to the gates' biases of a slim model, whose streams keep their order, what the cut h
    gave them on average."""
    from hwkeras.graph import highway_blocks

    blocks, slims = highway_blocks(dense), highway_blocks(slim)
    for part in plan.blocks:
        if part.name in slims and slims[part.name].active:
            block = blocks[part.name]
            kernel = np.asarray(block.gate.kernel).sum((0, 1))
            gone = sorted(set(block.active) - set(part.kept))
            shift = found[part.name]["h"][gone] @ kernel[gone]
            bias = slims[part.name].gate.bias
            bias.assign(np.asarray(bias) + shift[list(part.kept)])


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True)
@click.option("--parameters", default=0.15, show_default=True, help="Share that stays.")
def main(run: Path, out: Path, parameters: float) -> None:
    """Cut the net of RUN by each score and write its validation accuracy."""
    from export.pipeline import some_images
    from export.runfolder import RunFolder
    from hwkeras import apply_plan, load_model, make_plan, recalibrate
    from hwkeras.evaluation import accuracy, predict_logits

    folder = RunFolder.open(run)
    dataset, stats = folder.data().load(), folder.stats()
    dense, held_out = load_model(folder.need("train")), dataset.validation
    images = some_images(dataset.train.images, IMAGES)
    found = moments(dense, images)

    def right(model) -> float:
        return accuracy(predict_logits(model, held_out.images), held_out.labels)

    rows = []
    for name, score in SCORES.items():
        blocks = []
        for block in stats.blocks:
            m = found[block.name]
            values = score(m["size"], m["mean"], m["square"])
            blocks.append(dataclasses.replace(block, mean_update=tuple(values.tolist())))
        ranked = dataclasses.replace(stats, blocks=tuple(blocks))
        plan = make_plan(ranked, parameters=parameters * stats.cost().parameters)
        plan = dataclasses.replace(plan, orders=())
        row: dict[str, str | float] = {"score": name}
        for way in ("plain", "compensated"):
            slim = apply_plan(dense, plan)
            if way == "compensated":
                compensate(dense, slim, plan, found)
            row[f"{way}, cut"] = right(slim)
            recalibrate(slim, images)
            row[f"{way}, recalibrated"] = right(slim)
        rows.append(row)
        click.echo(", ".join(f"{k} {v if isinstance(v, str) else format(v, '.1%')}"
                             for k, v in row.items()))  # fmt: skip
    settings = {"parameters": parameters, "images": IMAGES, "validation_images": len(held_out)}
    write_figures(out, settings=settings, measurements=rows)


if __name__ == "__main__":
    main()
