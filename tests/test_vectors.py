"""The pictures that the apps are tested on are what `load_image` makes of them today."""

import base64
import json
import runpy

from conftest import ROOT

FOLDER = ROOT / "android_demo" / "vectors"


def test_the_committed_vectors_are_what_python_makes():
    committed = (FOLDER / "preprocess.json").read_text(encoding="utf-8")
    assert committed == runpy.run_path(str(FOLDER / "make.py"))["vectors"]()


def test_the_vectors_reach_what_differs_between_implementations():
    content = json.loads((FOLDER / "preprocess.json").read_text(encoding="utf-8"))
    assert content["format"] == "hwkeras-preprocess-1"
    cases, bands = content["cases"], {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}
    assert len({case["name"] for case in cases}) == len(cases)
    for case in cases:
        pixels, expected = (base64.b64decode(case[key]) for key in ("pixels", "expected"))
        assert len(pixels) == case["width"] * case["height"] * bands[case["mode"]]
        assert len(expected) == case["out_height"] * case["out_width"] * case["channels"]
    assert {(c["mode"], c["channels"]) for c in cases} == {(m, n) for m in bands for n in (1, 3)}
    wider = {
        (c["out_width"] > c["width"]) - (c["out_width"] < c["width"])
        + 3 * ((c["out_height"] > c["height"]) - (c["out_height"] < c["height"]))
        for c in cases
    }  # fmt: skip
    assert {-4, -3, -1, 0, 4} <= wider  # both smaller, one of them, neither, both larger
    assert {c["width"] for c in cases} & {c["height"] for c in cases} & {1}
    alphas = set()
    for case in cases:
        if case["mode"][-1] == "A":
            count = bands[case["mode"]]
            alphas.update(base64.b64decode(case["pixels"])[count - 1 :: count])
    assert alphas == set(range(256))
