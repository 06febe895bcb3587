"""Writes preprocess.json: what a picture's pixels become before a model sees them.

    python android_demo/vectors/make.py

The apps are held to `hwkeras.load_image` by these cases, so that their accuracy is the report's. A
case is a picture (`pixels`: base64 of its bytes, row by row, interleaved as `mode` says) and what
the model gets (`expected`: base64 of uint8 `(out_height, out_width, channels)`).
"""

from __future__ import annotations

import base64
import dataclasses
import json
import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image

import hwkeras
from hwkeras.files import write_text

FORMAT = "hwkeras-preprocess-1"
FILE = Path(__file__).with_name("preprocess.json")
BANDS = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}
ALPHAS = (0, 1, 64, 127, 128, 129, 254, 255)  # the ends and the middle, where rounding may differ

Pattern = Callable[[int, int, int], int]  # of x, y and band


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture that no file format has touched yet."""

    mode: str
    width: int
    height: int
    pixels: bytes


def noise(mode: str, width: int, height: int) -> Picture:
    """Returns seeded noise; alpha runs through `ALPHAS`."""
    size = BANDS[mode] * width * height
    pixels = bytearray(random.Random(f"{mode} {width}x{height}").randbytes(size))
    if mode[-1] == "A":
        bands = BANDS[mode]
        pixels[bands - 1 :: bands] = (ALPHAS[i % len(ALPHAS)] for i in range(width * height))
    return Picture(mode, width, height, bytes(pixels))


def drawn(mode: str, width: int, height: int, pattern: Pattern) -> Picture:
    """Returns a picture of 256 grey levels a band, as a function of the position."""
    places = ((x, y) for y in range(height) for x in range(width))
    pixels = bytes(pattern(x, y, band) & 255 for x, y in places for band in range(BANDS[mode]))
    return Picture(mode, width, height, pixels)


def ramp(x: int, y: int, band: int) -> int:
    return (x * 11, y * 13, x * 5 + y * 7, 255 - x * 9)[band]


def checkers(x: int, y: int, band: int) -> int:
    return 255 * ((x + y) % 2)


def edge(x: int, y: int, band: int) -> int:
    return 255 * (x > 4 + 2 * band) if y % 6 else 0


def cases() -> Iterator[tuple[str, Picture, tuple[int, int, int]]]:
    """Yields name, picture and the model's `(height, width, channels)`.

    Rows are resized before columns, tall pictures too: the order decides how pixels round.
    """
    for mode in BANDS:
        for channels in (1, 3):
            kind = "grey" if channels == 1 else "colour"
            yield f"{mode} to {kind}, same size", noise(mode, 8, 6), (6, 8, channels)
            yield f"{mode} to {kind}, down", noise(mode, 23, 17), (8, 8, channels)
            yield f"{mode} to {kind}, up", noise(mode, 5, 4), (9, 13, channels)
    yield "narrower only", noise("RGB", 16, 9), (9, 7, 3)
    yield "lower only", noise("RGB", 9, 16), (7, 9, 3)
    yield "narrower and higher", noise("RGBA", 19, 7), (24, 5, 3)
    yield "wider and lower", noise("RGBA", 7, 19), (5, 24, 3)
    yield "tall", noise("RGB", 17, 41), (8, 8, 3)
    yield "half", noise("RGB", 32, 32), (16, 16, 3)
    yield "double", noise("RGB", 8, 8), (16, 16, 3)
    yield "a little smaller", noise("L", 33, 31), (32, 30, 1)
    yield "far smaller", noise("RGB", 61, 47), (3, 2, 3)
    yield "one pixel wide", noise("RGB", 1, 13), (8, 8, 3)
    yield "one pixel high", noise("RGBA", 13, 1), (8, 8, 1)
    yield "one pixel", noise("RGBA", 1, 1), (4, 4, 3)
    yield "to one pixel", noise("RGB", 14, 11), (1, 1, 3)
    yield "to one pixel wide", noise("L", 10, 12), (8, 1, 1)
    yield "ramps", drawn("RGB", 23, 19, ramp), (32, 32, 3)
    yield "ramps under a fading alpha", drawn("RGBA", 27, 19, ramp), (16, 16, 3)
    yield "ramps to grey", drawn("RGB", 23, 19, ramp), (12, 12, 1)
    yield "checkers", drawn("L", 16, 16, checkers), (11, 11, 1)
    yield "edges", drawn("RGB", 24, 18, edge), (8, 8, 3)
    yield "every grey", drawn("L", 16, 16, lambda x, y, band: 16 * y + x), (16, 16, 3)
    yield (
        "every alpha over black",
        drawn("LA", 16, 16, lambda x, y, band: band * (16 * y + x)),
        (16, 16, 1),
    )


def vectors() -> str:
    """Returns the text of preprocess.json, one case a line."""
    lines = []
    for name, picture, shape in cases():
        case = {
            "name": name,
            **dataclasses.asdict(picture),
            "pixels": _base64(picture.pixels),
            "out_height": shape[0],
            "out_width": shape[1],
            "channels": shape[2],
            "expected": _base64(_converted(picture, shape)),
        }
        lines.append(json.dumps(case))
    return f'{{"format": "{FORMAT}", "cases": [\n' + ",\n".join(lines) + "\n]}\n"


def _converted(picture: Picture, shape: tuple[int, int, int]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "picture.png"
        size = picture.width, picture.height
        Image.frombytes(picture.mode, size, picture.pixels).save(file)
        return hwkeras.load_image(file, shape).tobytes()


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


if __name__ == "__main__":
    write_text(FILE, vectors())
