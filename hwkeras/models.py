"""The poster's highway net and its family: a frozen config and the function that builds it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import keras

from hwkeras.layers import HighwayConv2D, HighwayDense


@dataclasses.dataclass(frozen=True)
class HighwayConfig:
    """A highway net: a stem, stages of highway blocks, and a linear classifier.

    Attributes:
        stem: filters of the first convolution (units of the first dense layer for a table).
        stages: channels of each stage.
        blocks: highway blocks in each stage.
        strides: stride of each stage's first block; unused for a table.
        gate_bias: where the gates' biases start.
    """

    stem: int = 16
    stages: tuple[int, ...] = (64, 128, 256)
    blocks: int = 6
    strides: tuple[int, ...] = (2, 2, 2)
    gate_bias: float = -1.0

    def __post_init__(self):
        if not self.stages or len(self.stages) != len(self.strides):
            raise ValueError(
                "`strides` must hold one stride for each stage."
                f" Received: stages={self.stages}, strides={self.strides}"
            )
        if min(self.stem, self.blocks, *self.stages, *self.strides) < 1:
            raise ValueError(f"sizes must be positive. Received: {self}")


PRESETS = {
    "poster": HighwayConfig(),
    "small": HighwayConfig(stem=16, stages=(32, 64, 128), blocks=3),
    "tiny": HighwayConfig(stem=16, stages=(32, 64), blocks=3, strides=(1, 2)),
}


def highway_net(
    config: HighwayConfig,
    input_shape: Sequence[int],
    classes: int,
    mean: Sequence[float] = (0.0,),
    deviation: Sequence[float] = (255.0,),
    name: str = "highway_net",
) -> keras.Model:
    """Returns a highway net that takes raw pixels and gives logits.

    Args:
        config: the net's sizes; `PRESETS["poster"]` is the poster's.
        input_shape: `(height, width, channels)` of an image, or `(features,)` of a table row;
            a table gets `HighwayDense` blocks.
        classes: number of classes.
        mean: per channel, in pixels 0..255, subtracted inside the graph.
        deviation: per channel, in pixels 0..255, divided by inside the graph.

    Output shape: `(batch, classes)`, logits.

    Raises:
        ValueError: if the input shape has neither one nor three dimensions.
    """
    if len(input_shape) not in (1, 3):
        raise ValueError(
            "`input_shape` must be (height, width, channels) or (features,)."
            f" Received: {tuple(input_shape)}"
        )
    for name_, values in (("mean", mean), ("deviation", deviation)):
        if len(values) not in (1, input_shape[-1]) or len(mean) != len(deviation):
            raise ValueError(
                f"`{name_}` must hold one value or {input_shape[-1]}, one a channel, and as many as"
                f" the other. Received: mean={tuple(mean)}, deviation={tuple(deviation)}"
            )
    image = len(input_shape) == 3
    inputs = keras.Input(tuple(input_shape), name="image" if image else "features")
    scale = [1.0 / value for value in deviation]
    offset = [-m / d for m, d in zip(mean, deviation, strict=True)]
    x = keras.layers.Rescaling(scale, offset, name="normalization")(inputs)
    if image:
        stem = keras.layers.Conv2D(
            config.stem, 3, padding="same", data_format="channels_last", name="stem"
        )
    else:
        stem = keras.layers.Dense(config.stem, name="stem")
    x = stem(x)
    for stage, (channels, stride) in enumerate(zip(config.stages, config.strides, strict=True)):
        for block in range(config.blocks):
            label = f"stage{stage + 1}_block{block + 1}"
            if image:
                layer = HighwayConv2D(
                    channels,
                    strides=stride if block == 0 else 1,
                    gate_bias=config.gate_bias,
                    name=label,
                )
            else:
                layer = HighwayDense(channels, gate_bias=config.gate_bias, name=label)
            x = layer(x)
    x = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name="norm")(x)
    x = keras.layers.ReLU(name="relu")(x)
    if image:
        x = keras.layers.GlobalAveragePooling2D(data_format="channels_last", name="pool")(x)
    logits = keras.layers.Dense(classes, name="logits")(x)
    return keras.Model(inputs, logits, name=name)
