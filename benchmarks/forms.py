"""What the operators of a slim graph cost, alone; from it come the prices in `export/forms.py`.

    python benchmarks/forms.py -o results/forms.json

Each operator is timed as the difference between graphs that hold it many times and few times, all
graphs in turn, one thread. The prices are fitted to these times with non-negative least squares.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import click
from figures import write_figures

SHAPES = ((16, 64), (16, 32), (8, 128), (4, 256))  # side, channels
PARTS = (4, 24, 48)  # channels of a slice or of a part of a concatenation
ACTIVE = (4, 16, 24, 48)  # channels that a block transforms
FEW, MANY = 1, 5
TYPES = ("float32", "int8")


def cases():
    """Yields (operator, its shape, graph) for every operator; the graph is built `copies` times."""
    import keras
    import numpy as np

    from export.forms import Operator

    rng = np.random.default_rng(0)

    def vector(channels):
        return rng.uniform(0.5, 1.5, channels).astype(np.float32)

    def conv(channels, size):
        return keras.layers.Conv2D(channels, size, padding="same")

    for side, channels in SHAPES:
        rows = side * side
        image = (side, side, channels)
        yield (
            Operator.elementwise(rows, channels),
            [image],
            lambda x, n, c=channels: x + vector(c),
        )
        for part in (p for p in PARTS if p < channels):
            yield Operator.copy(rows, part), [image], lambda x, n, p=part: x[..., n : n + p]
        for active in (a for a in ACTIVE if a <= channels):
            for taps, inputs, outputs in (
                (1, channels, active), (1, active, channels),
                (9, channels, active), (9, active, active),
            ):  # fmt: skip
                yield (
                    Operator.convolution(rows, taps, inputs, outputs),
                    [(side, side, inputs)],
                    lambda x, n, o=outputs, t=taps: conv(o, round(t**0.5))(x),
                )


def graph(shapes, make, copies: int) -> bytes:
    import keras

    from export.tflite import convert

    inputs = [keras.Input(shape, name=f"x{i}") for i, shape in enumerate(shapes)]
    # A first operator, so that quantizing the input costs every graph the same.
    first = inputs[0] * 1.5
    return convert(keras.Model(inputs, [make(first, n) for n in range(copies)]))


def timed(models: dict, runs: int) -> dict:
    """Returns the median milliseconds of each model, by its key."""
    from export.timing import bench

    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, f"{number}.tflite") for number in range(len(models))]
        for path, content in zip(paths, models.values(), strict=True):
            path.write_bytes(content)
        costs = bench(paths, runs=runs)
    return {key: cost.latencies[0].median_ms for key, cost in zip(models, costs, strict=True)}


@click.command()
@click.option("-o", "--out", type=click.Path(path_type=Path))
@click.option("--runs", default=100, show_default=True)
def main(out: Path | None, runs: int) -> None:
    """Time the operators of a slim graph and fit the prices that choose its form."""
    import numpy as np
    from scipy.optimize import nnls

    from export.forms import Operator
    from export.quantize import make_variant

    operators, taken = [], {kind: [] for kind in TYPES}
    listed = list(cases())
    for number, (operator, shapes, make) in enumerate(listed):
        operators.append(operator)
        models: dict[tuple[str, int], bytes] = {}
        for copies in (FEW, MANY):
            content = graph(shapes, make, copies)
            images = np.random.default_rng(0).uniform(0, 255, (16, *shapes[0])).astype(np.float32)
            models["float32", copies] = content
            # integers in and out: nothing but the operator differs
            models["int8", copies] = make_variant(content, "int8", images, io="int8")
        times = timed(models, runs)
        for kind in TYPES:
            more = times[kind, MANY] - times[kind, FEW]
            taken[kind].append(1e3 * more / (MANY - FEW))
        click.echo(f"\r{number + 1} of {len(listed)} operators", nl=False, err=True)
    click.echo(err=True)
    rows, found = [], {}
    for kind in TYPES:
        features = np.array([operator.features for operator in operators], float)
        weights = 1 / np.maximum(taken[kind], 1.0)  # a relative error counts, down to a microsecond
        fitted, _ = nnls(features * weights[:, None], np.array(taken[kind]) * weights)
        prices = dict(zip(Operator.FEATURES, (float(f"{f:.3g}") for f in fitted), strict=True))
        found[kind] = prices
        click.echo(f"{kind}: " + ", ".join(f"{name} {value:g}" for name, value in prices.items()))
        for operator, measured, predicted in zip(
            operators, taken[kind], features @ fitted, strict=True
        ):
            rows.append(
                {
                    "type": kind,
                    "operator": operator.name,
                    "measured_us": round(measured, 2),
                    "predicted_us": round(float(predicted), 2),
                }
            )
            click.echo(f"{kind:<8} {operator.name:<34} {measured:8.2f} {predicted:8.2f}")
    if out:
        write_figures(out, runs=runs, prices=found, measurements=rows)


if __name__ == "__main__":
    main()
