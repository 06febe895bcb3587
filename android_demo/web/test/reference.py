"""What Python makes of the pictures and models that page.test.js shows to the page.

    python test/reference.py BUNDLES OUT

Writes to OUT pictures of several kinds, bundles that the browser runs or refuses, and
reference.json: the logits of each model for each picture, and the pixels of each picture.
"""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from export.bundle import describe, sidecar_path, write_model
from export.bundlefolder import Bundle, read_bundle
from export.quantize import make_variant
from export.runtime import predict
from export.silence import silenced
from export.tflite import convert
from hwkeras.folder import load_image

PIXELS_SHAPE = (60, 40, 3)


def pictures(samples: list[Path], out: Path) -> list[Path]:
    """Returns the samples, and pictures of the kinds that people drop on the page."""
    y, x = np.mgrid[:300, :400]
    waves = np.stack([128 + 127 * np.sin(x / 9 + y / s) for s in (13, 7, 5)], axis=-1)
    photo = Image.fromarray(waves.astype(np.uint8))
    fading = photo.copy()
    fading.putalpha(Image.fromarray((x * 255 // 399).astype(np.uint8)))
    cut_out = photo.copy()
    cut_out.putalpha(Image.fromarray(((x // 50 + y // 50) % 2 * 255).astype(np.uint8)))
    turned = Image.Exif()
    turned[0x0112] = 6  # turn me a quarter clockwise
    photo.save(out / "photo.png")
    photo.save(out / "photo.webp", lossless=True)
    photo.convert("L").save(out / "grey.png")
    fading.save(out / "fading.png")
    cut_out.save(out / "cut-out.png")
    photo.rotate(90, expand=True).save(out / "turned.jpg", quality=90, exif=turned)
    return [*samples, *sorted(f for f in out.iterdir() if f.suffix in (".png", ".webp", ".jpg"))]


def odd_bundles(out: Path) -> list[Path]:
    """Returns bundles whose input and output are not float32, or whose batch is open."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    inputs = keras.Input((12, 10, 3), name="image")
    x = keras.layers.Conv2D(8, 3, activation="relu")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(4)(keras.layers.Flatten()(x)))
    images = np.random.default_rng(0).integers(0, 256, (64, 12, 10, 3))
    contents = {io: make_variant(convert(model), "int8", images, io=io) for io in ("int8", "uint8")}
    contents["dynamic"] = tf.lite.TFLiteConverter.from_keras_model(model).convert()
    paths = []
    for name, content in contents.items():
        sidecar = describe(name, name, content, "abcd", parameters=model.count_params(), macs=0)
        paths.append(out / f"{name}.tflite")
        write_model(paths[-1], content, sidecar)
    return paths


def logits(bundle: Bundle, files: list[Path]) -> dict[str, list[float]]:
    images = np.stack([load_image(file, bundle.input_shape) for file in files])
    found = predict(bundle.content, images)
    return {file.name: row.tolist() for file, row in zip(files, found, strict=True)}


def main(folder: Path, out: Path) -> None:
    index = json.loads((folder / "bundles.json").read_text(encoding="utf-8"))
    shown = pictures([folder / sample["file"] for sample in index["samples"]], out)
    odd = odd_bundles(out)
    models = [folder / f"{name}.tflite" for name in index["models"]] + odd
    content = {
        "models": {path.stem: json.loads(sidecar_path(path).read_text()) for path in models},
        "logits": {path.stem: logits(read_bundle(path), shown) for path in models},
        "pictures": {file.name: str(file.resolve()) for file in shown},
        "pixels_shape": PIXELS_SHAPE,
        "pixels": {
            file.name: base64.b64encode(load_image(file, PIXELS_SHAPE).tobytes()).decode()
            for file in shown
        },
    }
    (out / "reference.json").write_text(json.dumps(content))


if __name__ == "__main__":
    with silenced():
        main(Path(sys.argv[1]), Path(sys.argv[2]))
