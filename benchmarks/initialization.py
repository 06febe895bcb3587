"""How a highway net should start: a short training for each way to draw its kernels.

    python benchmarks/initialization.py DATA -o results/cifar10/initialization.json

Each row draws the first kernels of the transforms and of the gates, sets the gates' biases, trains
the same steps with the same seed, and is watched on the validation split.
"""

from __future__ import annotations

from pathlib import Path

import click
from figures import write_figures

# "default" is what the library draws; the others are Keras's names, and Keras's defaults for
# a convolution with a rectifier and without one. Transform, gate, and the gates' bias.
ROWS = (
    ("default", "default", -1.0), ("he_normal", "glorot_uniform", -1.0),
    ("default", "glorot_uniform", -1.0), ("he_normal", "default", -1.0),
    ("default", "default", 0.0), ("default", "default", -2.0), ("default", "default", -3.0),
)  # fmt: skip


@click.command()
@click.argument("data")
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True)
@click.option("--preset", default="small", show_default=True)
@click.option("--steps", default=120, show_default=True)
@click.option("--batch-size", default=128, show_default=True)
@click.option("--precision", default="mixed_bfloat16", show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(data: str, out: Path, preset: str, seed: int, **settings) -> None:
    """Train one net a row and write what became of it."""
    import keras
    from short import fresh_net, short_training

    from hwkeras import TrainConfig, load_dataset
    from hwkeras.graph import highway_blocks

    dataset = load_dataset(data)
    config = TrainConfig(
        epochs=1, batch_size=settings["batch_size"], precision=settings["precision"],
        optimizer="sgd", seed=seed,
    )  # fmt: skip
    rows = []
    for transform, gate, bias in ROWS:
        model = fresh_net(dataset, preset, seed)
        for block in highway_blocks(model).values():
            for layer, drawn in ((block.transform, transform), (block.gate, gate)):
                if drawn != "default":
                    draw = keras.initializers.get(drawn)
                    layer.kernel.assign(draw(layer.kernel.shape))
            block.gate.bias.assign(0 * block.gate.bias + bias)
        last = short_training(model, dataset, settings["steps"], config)
        rows.append(
            {
                "transform": transform, "gate": gate, "bias": bias, "loss": last["loss"],
                "accuracy": last["accuracy"], "validation": last["val_accuracy"],
            }
        )  # fmt: skip
        click.echo(
            f"transform {transform}, gate {gate}, bias {bias}: loss {last['loss']:.3f},"
            f" validation {last['val_accuracy']:.1%}"
        )
    settings |= {"preset": preset, "seed": seed, "validation_images": len(dataset.validation)}
    write_figures(out, settings=settings, measurements=rows)


if __name__ == "__main__":
    main()
