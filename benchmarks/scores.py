"""What else a channel's score could be than its mean update: cut, recalibrated, not trained.

    python benchmarks/scores.py RUN -o results/cifar10/scores.json
    python benchmarks/scores.py RUN -o results/cifar10/scores-macs.json --counts macs --share 0.2

All scores are of the update u = t (h - c) over images and positions. "change of the loss" is what
dropping u does to it to first order, |sum of du L * u over positions|, as in Molchanov et al.,
"Importance Estimation for Neural Network Pruning", CVPR 2019 (https://arxiv.org/abs/1906.10771).
"compensated" also gives the gates, as biases, what the cut h fed them on average. The gradient is
TensorFlow's.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click
import numpy as np
from figures import AS_THEY_ARE, write_figures

IMAGES = 2000  # of the training split, for scores and batch norms
BATCH = 125
SCORES = {
    "mean |u|": lambda m: m["size"],
    "root mean square": lambda m: np.sqrt(m["square"]),
    "standard deviation": lambda m: np.sqrt(np.maximum(m["square"] - m["mean"] ** 2, 0)),
    "mean square": lambda m: m["square"],
    "variance": lambda m: np.maximum(m["square"] - m["mean"] ** 2, 0),
    "change of the loss": lambda m: m["change"],
}


def moments(model, images, labels) -> dict[str, dict[str, np.ndarray]]:
    """Returns means over images `(channels,)` by block: of |u|, u, u^2 and h, over positions as
    well, and of the change of the loss."""
    import keras
    import tensorflow as tf

    from hwkeras.graph import highway_blocks

    blocks = highway_blocks(model)
    inner = {name: (b.input, b.output) for name, b in blocks.items()}
    ends = keras.Model(model.input, (inner, model.output))
    means: dict[str, dict[str, np.ndarray]] = {name: {} for name in blocks}
    size = min(BATCH, len(images))
    count = len(images) // size
    for start in range(0, count * size, size):
        batch = tf.convert_to_tensor(images[start : start + size], "float32")
        with tf.GradientTape() as tape:
            tape.watch(batch)
            seen, logits = ends(batch, training=False)
            loss = tf.reduce_sum(losses(logits, labels[start : start + size]))
        slopes = tape.gradient(loss, {name: y for name, (_, y) in seen.items()})
        for name, (x, y) in seen.items():
            block = blocks[name]
            carry = x if block.projection is None else block.projection(x)
            update = np.asarray(y - carry, np.float64)
            found = {
                "size": np.abs(update), "mean": update, "square": update**2,
                "h": np.asarray(block.transform(keras.ops.relu(block.norm(x))), np.float64),
                "change": np.abs((np.asarray(slopes[name]) * update).sum((1, 2), keepdims=True)),
            }  # fmt: skip
            for key, values in found.items():
                means[name][key] = means[name].get(key, 0.0) + values.mean((0, 1, 2)) / count
    return means


def losses(logits, labels):
    """Returns the cross entropy of each image `(n,)`."""
    import keras

    return keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)


def scored(stats, scores: dict[str, np.ndarray]):
    """Returns gate statistics whose mean updates are these scores `(channels,)`, by block."""
    blocks = []
    for block in stats.blocks:
        values = scores[block.name][list(block.active)]
        blocks.append(dataclasses.replace(block, mean_update=tuple(values.tolist())))
    return dataclasses.replace(stats, blocks=tuple(blocks))


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
@click.option(
    "--counts", type=click.Choice(("parameters", "macs")), default="parameters", show_default=True
)
@click.option("--share", default=0.15, show_default=True, help="Of them that stays.")
def main(run: Path, out: Path, counts: str, share: float) -> None:
    """Cut the net of RUN by each score and write its validation accuracy."""
    from export.runfolder import RunFolder
    from hwkeras import apply_plan, load_model, make_plan, recalibrate
    from hwkeras.evaluation import accuracy, predict_logits

    folder = RunFolder.open(run)
    dataset, stats = folder.data().load(), folder.stats()
    dense, held_out = load_model(folder.need("train")), dataset.validation
    few = dataset.train.take(slice(0, IMAGES))
    images = few.images
    found = moments(dense, images, few.labels)

    def right(model) -> float:
        return accuracy(predict_logits(model, held_out.images), held_out.labels)

    rows = []
    for name, score in SCORES.items():
        ranked = scored(stats, {block: score(values) for block, values in found.items()})
        plan = make_plan(ranked, **{counts: share * getattr(stats.cost(), counts)}, **AS_THEY_ARE)
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
    settings = {"counts": counts, "share": share, "images": IMAGES}
    settings["validation_images"] = len(held_out)
    write_figures(out, settings=settings, measurements=rows)


if __name__ == "__main__":
    main()
