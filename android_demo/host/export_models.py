"""Exports small models, and what they answer in Python, for the tests of the app.

    python android_demo/host/export_models.py FOLDER

FOLDER gets each model as <name>.tflite and <name>.json, pictures/*.png, and expected.json:
    digits    test images of the digits, uint8, and each grey model's logits for them
    pictures  for each file and each kind of model the pixels that `hwkeras.load_image` makes of
              it, and each model's logits
"""

from __future__ import annotations

import base64
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from PIL import Image

import hwkeras
from export.bundle import describe, write_model
from export.quantize import make_variant
from export.runtime import predict
from export.tflite import convert, with_labels

IMAGES = 64
Models = dict[str, bytes]


def grey_models(dataset: hwkeras.Dataset) -> Models:
    """Returns a trained and pruned classifier of the digits, in each form that the app takes."""
    model = hwkeras.highway_net(hwkeras.PRESETS["tiny"], dataset.input_shape, len(dataset.classes))
    hwkeras.fit(model, dataset, hwkeras.TrainConfig(epochs=2, batch_size=64))
    stats = hwkeras.collect_stats(model, dataset.train.images)
    slim = hwkeras.apply_plan(model, hwkeras.make_plan(stats, keep=0.25))
    hwkeras.recalibrate(slim, dataset.train.images)
    content, calibration = convert(slim), dataset.train.images[:128]
    return {
        "grey-float32": content,
        **{
            f"grey-int8-{io}": make_variant(content, "int8", calibration, io)
            for io in ("float32", "int8", "uint8")
        },
    }


def colour_models() -> Models:
    """Returns a net for colour pictures higher than wide; its random weights answer anything."""
    keras.utils.set_random_seed(1)
    model = hwkeras.highway_net(hwkeras.PRESETS["tiny"], (20, 12, 3), 10)
    content = convert(model)
    calibration = np.random.default_rng(0).integers(0, 256, (64, 20, 12, 3), np.uint8)
    return {"colour-float32": content, "colour-int8": make_variant(content, "int8", calibration)}


def save_pictures(folder: Path) -> dict[str, int]:
    """Writes a picture of each kind that differs, and returns their Exif orientations by name."""
    folder.mkdir(parents=True)
    y, x = np.mgrid[:3000, :4000]
    photo = np.stack([x * 255 // 3999, y * 255 // 2999, (x // 16 + y // 16) * 37 % 256], -1)
    small = Image.fromarray(photo.astype(np.uint8)).resize((41, 37))
    alpha = np.linspace(0, 255, 41 * 37).reshape(37, 41).astype(np.uint8)
    Image.fromarray(photo.astype(np.uint8)).save(folder / "photo.png", compress_level=1)
    small.convert("L").save(folder / "grey.png")
    small.convert("P").save(folder / "palette.png")
    small.putalpha(Image.fromarray(alpha))
    small.save(folder / "transparent.png")
    small.convert("LA").save(folder / "grey-transparent.png")
    orientations = dict.fromkeys((file.name for file in folder.iterdir()), 1)
    for orientation in range(2, 9):
        name = f"orientation-{orientation}.png"
        exif = Image.Exif()
        exif[0x0112] = orientation
        small.save(folder / name, exif=exif)
        orientations[name] = orientation
    return orientations


def main(folder: Path) -> None:
    dataset = hwkeras.load_dataset("digits")
    keras.utils.set_random_seed(0)
    models = {"grey": grey_models(dataset), "colour": colour_models()}
    for name, content in (models["grey"] | models["colour"]).items():
        content = with_labels(content, dataset.classes)
        sidecar = describe(name, name, content, dataset.classes, parameters=0, macs=0)
        write_model(folder / f"{name}.tflite", content, sidecar)

    images = dataset.test.images[:IMAGES]
    digits = {
        "pixels": [base64.b64encode(image.tobytes()).decode() for image in images],
        "logits": {n: predict(c, images, threads=1).tolist() for n, c in models["grey"].items()},
    }
    pictures = []
    for file, orientation in save_pictures(folder / "pictures").items():
        for kind, shape in (("grey", (8, 8, 1)), ("colour", (20, 12, 3))):
            pixels = hwkeras.load_image(folder / "pictures" / file, shape)
            answers = {
                name: predict(content, pixels[None], threads=1)[0].tolist()
                for name, content in models[kind].items()
            }
            encoded = base64.b64encode(pixels.tobytes()).decode()
            pictures.append(
                {"file": file, "orientation": orientation, "pixels": encoded, "logits": answers}
            )
    expected = {"digits": digits, "pictures": pictures}
    (folder / "expected.json").write_text(json.dumps(expected), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
