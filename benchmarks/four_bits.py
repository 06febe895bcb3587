"""What four bits a weight cost, rounded one by one or with compensation, beside eight bits.

    python benchmarks/four_bits.py RUN -o results/cifar10/four_bits.json

Each file of RUN's slim model is compared with the float32 one on the validation split, by accuracy
and by the mean squared difference of their logits; the test split is not read.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click
from figures import write_figures

# Variant and calibration images; int4 without any rounds each weight to the nearest.
FILES = (("dynamic", 0), ("int8", 256), ("int4", 0), ("int4", 16), ("int4", 64), ("int4", 256))


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True)
@click.option("--images", default=2000, show_default=True, help="Of the validation split.")
def main(run: Path, out: Path, images: int) -> None:
    """Make the files and compare their answers."""
    import numpy as np

    from export.pipeline import some_images
    from export.quantize import make_variant
    from export.runfolder import RunFolder
    from export.runtime import predict
    from export.tflite import convert
    from hwkeras.saving import load_model

    folder = RunFolder.open(run)
    dataset, source = folder.data().load(), folder.slimmest()
    if source is None:
        raise click.UsageError(f"{run} has no slim model")
    model, split = load_model(source), dataset.validation
    shown, labels = split.images[:images], split.labels[:images]
    graphs = {variant: convert(model, variant) for variant, _ in FILES}
    float32 = convert(model)
    reference = predict(float32, shown)
    rows: list[dict[str, Any]] = []

    def add(variant: str, calibrated: int, content: bytes, logits, seconds: float) -> None:
        rows.append(
            {
                "variant": variant, "calibration_images": calibrated, "bytes": len(content),
                "accuracy": float(np.mean(logits.argmax(-1) == labels)),
                "squared_difference": float(np.mean((logits - reference) ** 2)),
                "seconds_to_make": round(seconds, 1),
            }
        )  # fmt: skip
        click.echo(rows[-1])

    add("float32", 0, float32, reference, 0.0)
    for variant, count in FILES:
        calibration = some_images(dataset.train.images, count) if count else None
        start = time.perf_counter()
        content = make_variant(graphs[variant], variant, calibration)
        add(variant, count, content, predict(content, shown), time.perf_counter() - start)
    variance = float(np.var(reference, axis=0).mean())
    write_figures(out, run=run.name, images=len(shown), logit_variance=variance, measurements=rows)


if __name__ == "__main__":
    main()
