"""Reports: numbers by hand, golden Markdown, round trips, and pages that stand alone."""

import collections
import dataclasses
import html.parser
import itertools
import json
import math
import re
import xml.etree.ElementTree

import numpy as np
import pytest

from export import formats, pictures
from export.comparison import comparison, headline
from export.orthogonality import Product
from export.report import (
    Measurement,
    Report,
    ReportError,
    Step,
    from_json,
    render_html,
    render_markdown,
    to_json,
)
from export.reporting import _settings
from export.tables import block_table, cut_table, step_table, training_table
from hwkeras.cost import BlockShape, Cost
from hwkeras.plan import BlockStats, GateStats, StreamOrder
from hwkeras.planning import make_plan

# All numbers in this file are invented.
HOSTILE = '"><script>alert(1)</script>|*`$x$'


def file(model="dense", variant="float32", size_bytes=4_000_000, **fields):
    fields = {"accuracy": 0.9, "images": 1000, "latency_ms": 8.0, "latency_runs": 50, **fields}
    path = f"tflite/{model}-{variant}.tflite"
    return Measurement(model, variant, path, size_bytes, **fields)


def gate_stats(stages=(4, 8), blocks=3, images=100):
    """Returns statistics with log-normal gates, fewer open ones in later stages."""
    random, result, before = np.random.default_rng(0), [], 4
    for stage, channels in enumerate(stages, 1):
        for block in range(1, blocks + 1):
            gates = np.exp(random.normal(-1 - stage, 1, channels)).clip(1e-6, 1)
            updates = gates * np.exp(random.normal(0, 0.5, channels))
            values = [tuple(float(f"{v:.6g}") for v in x) for x in (gates, gates, updates)]
            shape = BlockShape(before, channels, (3, 3), 16, block == 1)
            name = f"stage{stage}_block{block}"
            result.append(BlockStats(name, shape, tuple(range(channels)), *values))
            before = channels
    return GateStats("d1ce" * 16, images, Cost(1000, 5000), tuple(result))


def full_report(title="test data", **stats):
    gates = gate_stats(**stats)
    epochs = [
        {"phase": phase, "epoch": epoch, "loss": 1 / epoch, "accuracy": 0.9 - 0.4 / epoch,
         "val_accuracy": 0.88 - 0.4 / epoch, "mean_gate": 0.3 / epoch, "share_shut": 0.5}
        for phase, count in (("dense", 6), ("finetune", 2))
        for epoch in range(1, count + 1)
    ]  # fmt: skip
    variants = (("float32", 1.0), ("float16", 0.5), ("int8", 0.26), ("dynamic", 0.26))
    return Report(
        title=title,
        created="2025-01-02",
        dataset={"name": "invented", "classes": ("cat", "dog"), "input_shape": (32, 32, 3)},
        settings={"seed": 12345, "epochs": 12_000, "penalty": 0.5, "augment": True},
        versions={"python": "3.11"},
        machine={"cores": 2},
        stats=gates,
        plan=make_plan(gates, keep=0.5),
        history=tuple(epochs),
        steps=(Step("dense", 0.9, 500), Step("cut", 0.6, 500)),
        measurements=tuple(
            file(
                model,
                variant,
                int(size * share),
                accuracy=0.9 - loss,
                latency_ms=8 * share * size / 4e6,
                latency_p90_ms=9 * share * size / 4e6,
                undelegated={"GATHER": 2} if model == "slim" else {},
            )
            for model, size, loss in (("dense", 4_000_000, 0.0), ("slim", 600_000, 0.02))
            for variant, share in variants
        ),
    )


@pytest.fixture(scope="module")
def page():
    return render_html(full_report(stages=(64, 128, 256), blocks=6))


class Page(html.parser.HTMLParser):
    """Keeps a page's attributes and text, and checks that its elements nest."""

    def __init__(self, text):
        super().__init__()
        self.attributes, self.open, self.tags, self.text = [], [], [], ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.text += data


def cell(table, row, column):
    return table.rows[row][table.columns.index(column)]


def test_a_report_names_files_without_their_folders():
    table = {"latency_table": "/home/me/table.json"}
    done = {
        "train": {"settings": {"data": {"source": "/home/me/x.npz", "seed": 1}, "penalty": table}},
        "prune": {"settings": {"value": "/home/me/plan.json", "keep": 0.5, **table}},
    }
    assert _settings(done) == {
        "train: data": {"seed": 1}, "train: penalty": {"latency_table": "table.json"},
        "prune: value": "plan.json", "prune: keep": 0.5, "prune: latency_table": "table.json",
    }  # fmt: skip


def test_wilson_interval_stays_between_0_and_1():
    """All of 10 right: from 10 / (10 + 1.96^2) to 1."""
    assert formats.wilson_interval(1.0, 10) == pytest.approx((10 / 13.8415, 1.0), abs=1e-5)
    assert formats.wilson_interval(0.0, 10) == pytest.approx((0.0, 3.8415 / 13.8415), abs=1e-5)
    low, high = formats.wilson_interval(0.9, 100)
    assert high - low == pytest.approx(2 * formats.wilson_half_width(0.9, 100))


def test_wilson_half_width():
    # With no hit the interval is [0, z^2 / (n + z^2)], z^2 = 3.8415.
    assert formats.wilson_half_width(0, 10) == pytest.approx(3.8415 / 13.8415 / 2, abs=1e-5)
    # Half of four: 1.96 * sqrt(1/16 + 3.8415/64) / (1 + 3.8415/4)
    assert formats.wilson_half_width(0.5, 4) == pytest.approx(0.34996, abs=1e-5)
    # Many images: the normal interval, 1.96 * sqrt(0.9 * 0.1 / 10,000) = 0.00588
    assert formats.wilson_half_width(0.9, 10_000) == pytest.approx(0.00588, abs=1e-5)


def test_points_lost_has_no_negative_zero():
    assert formats.points_lost(0.9, 0.8875) == 1.25
    assert formats.lost(0.9, 0.91) == "-1.00"
    assert formats.lost(0.9, 0.90001) == "0.00"


@pytest.mark.parametrize(
    "before, after, expected",
    [(10, 4, "2.50"), (9.994, 1, "9.99"), (9.996, 1, "10.0"), (1e6, 100, "10,000.0"),
     (None, 1, "-"), (1, 0, "-"), (1, None, "-")],
)  # fmt: skip
def test_times(before, after, expected):
    assert formats.times(before, after) == expected


def test_facts_as_text():
    assert formats.fact("input_shape", (32, 32, 3)) == "32 x 32 x 3"
    assert formats.fact("train", 45000) == "45,000"
    assert formats.fact("seed", 45000) == "45000"
    assert formats.fact("augment", True) == "yes"
    assert formats.fact("counts", {"train": 1000, "test": None}) == "train: 1,000, test: -"


def test_headline():
    slim = file("slim", size_bytes=1_000_000, accuracy=0.88)
    small = file("slim", "int4", 262_144, accuracy=0.905)
    report = Report("run", "2025-01-02", measurements=(file(), slim, small))
    assert headline(report) == (
        "Dense float32: 3.81 MiB (4,000,000 bytes)."
        " Slim float32: 0.95 MiB (1,000,000 bytes), 4.00 times smaller, 2.00 points of accuracy"
        " lost."
        " Smallest, slim int4: 0.25 MiB (262,144 bytes), 15.3 times smaller, 0.50 points of"
        " accuracy gained."
    )
    assert headline(Report("run", "2025-01-02")) == "No model file was measured."
    alone = Report("run", "2025-01-02", measurements=(small,))
    assert headline(alone) == (
        "1 model file, the smallest 0.25 MiB (262,144 bytes); no dense float32 file to compare"
        " with."
    )


def test_comparison_is_against_the_own_runs_dense_float32():
    one = Report("one", "", measurements=(file(), file("slim", size_bytes=2_000_000)))
    two = Report("two", "", measurements=(file(size_bytes=9_000_000), file("slim", "int8", 100)))
    table = comparison([("one", one), ("two", two)])
    assert [row[0] for row in table.rows] == ["one", "one", "two", "two"]
    assert cell(table, 1, "times smaller") == "2.00"
    assert cell(table, 3, "times smaller") == "90,000.0"


@pytest.mark.parametrize("unknown", [None, math.nan, np.float32("nan"), math.inf])
def test_unknown_latency_and_accuracy_are_dashes(unknown):
    broken = file("slim", latency_ms=unknown, latency_p90_ms=unknown, accuracy=unknown)
    report = Report("run", "", measurements=(file(), broken))
    table = comparison([("run", report)])
    names = ("median ms", "times faster", "accuracy %", "± 95%", "points lost")
    assert [cell(table, 1, name) for name in names] == ["-"] * 5
    assert cell(table, 0, "median ms") == "8.00"
    assert from_json(to_json(report)) == report
    assert "nan" not in Page(render_html(report)).text


def test_columns_that_say_nothing_are_left_out_and_those_that_differ_are_shown():
    table = comparison([("run", Report("run", "", measurements=(file(), file("slim"))))])
    assert not {"gzip bytes", "partitions", "note", "images", "threads"} & set(table.columns)
    assert "50 timed runs, 1 thread." in table.caption
    assert "top-1 on 1,000 test images" in table.caption
    mixed = (file(), file("slim", images=10, threads=4, undelegated={"GATHER": 2}, note="x"))
    table = comparison([("run", Report("run", "", measurements=mixed))])
    assert cell(table, 1, "images") == "10"
    assert cell(table, 1, "threads") == "4"
    assert cell(table, 1, "note") == "outside the delegate: 2 GATHER; x"


def test_steps_are_compared_on_the_same_images_only():
    table = step_table(
        [Step("a", 0.9, 500), Step("b", 0.6, 500), Step("t", 0.8, 99, "test"), Step("c", 0.7, 500)]
    )
    lost = [(cell(table, i, "points lost"), cell(table, i, "in all")) for i in range(4)]
    assert lost == [("-", "-"), ("30.00", "30.00"), ("-", "-"), ("-10.00", "20.00")]


def test_blocks_before_and_after():
    # 3x3 kernels, 2 -> 4 channels with projection: 2*4 + 9*k*(2 + k) weights, 4*2 + 2*k others
    shape = BlockShape(2, 4, (3, 3), 1, True)
    gates = (0.1, 0.2, 0.3, 0.4)
    block = BlockStats("only", shape, (0, 1, 2, 3), gates, gates, gates)
    stats = GateStats("d1ce", 10, Cost(0, 0), (block,))
    table = block_table(Report("run", "", stats=stats, plan=make_plan(stats, keep=0.25)))
    # k = 4: 8 + 216 + 16 = 240; k = 1: 8 + 27 + 10 = 45
    assert table.rows[0] == ("only", "4", "1", "25.0", "240", "45")
    assert table.rows[1] == ("all blocks", "4", "1", "25.0", "240", "45")
    # one channel of what it reads is cut, and two of its own stream:
    # 1 -> 2 channels, k = 1: 1*2 + 9*1*(1 + 1) weights, 4*1 + 2*1 others
    plan = make_plan(stats, keep=0.25)
    block = dataclasses.replace(block, reads="image", stream="only")
    cut = (StreamOrder("image", (1,), (0,)), StreamOrder("only", (0, 2), (1, 3)))
    read = dataclasses.replace(stats, blocks=(block,))
    table = block_table(Report("run", "", stats=read, plan=dataclasses.replace(plan, orders=cut)))
    assert table.rows[0] == ("only", "4", "1", "25.0", "240", "26")
    without = block_table(Report("run", "", plan=make_plan(stats, keep=0.25)))
    assert without.columns == ("block", "channels", "kept", "kept %")


def test_cut_takes_each_model_once():
    rows = (
        file(parameters=1000, macs=50_000), file(variant="int8", parameters=1000, macs=50_000),
        file("slim", parameters=250, macs=20_000),
    )  # fmt: skip
    assert cut_table(Report("run", "", measurements=rows)).rows == (
        ("dense", "1,000", "1.00", "50,000", "1.00"),
        ("slim", "250", "4.00", "20,000", "2.50"),
    )


def test_training_shows_last_and_best():
    history = [
        {"phase": "dense", "val_accuracy": 0.8, "loss": 0.5},
        {"phase": "dense", "val_accuracy": 0.7, "loss": math.nan},
    ]
    table = training_table(Report("run", "", history=tuple(history)).history)
    assert table.rows == (("dense", "2", "-", "-", "70.00", "80.00", "-", "-"),)


def test_markdown_golden():
    slim = file("slim", "int8", 500_000, accuracy=0.875, latency_ms=0.5, note="a|b")
    report = Report(
        title="golden *run*",
        created="2025-01-02",
        dataset={"name": "invented"},
        settings={"seed": 12345},
        steps=(Step("dense", 0.9, 200), Step("cut", 0.5, 200)),
        measurements=(file(), slim),
    )
    assert render_markdown(report) == GOLDEN


GOLDEN = r"""# golden \*run\*

Dense float32: 3.81 MiB (4,000,000 bytes). Smallest, slim int8: 0.48 MiB (500,000 bytes), 8.00 times smaller, 2.50 points of accuracy lost.

## Model files side by side

| model | variant |     bytes |  MiB | times smaller | accuracy % | ± 95% | points lost | median ms | times faster | note |
| ----- | ------- | --------: | ---: | ------------: | ---------: | ----: | ----------: | --------: | -----------: | ---- |
| dense | float32 | 4,000,000 | 3.81 |          1.00 |      90.00 |  1.86 |        0.00 |     8.000 |         1.00 |      |
| slim  | int8    |   500,000 | 0.48 |          8.00 |      87.50 |  2.05 |        2.50 |     0.500 |         16.0 | a\|b |

1 MiB is 1,048,576 bytes. Smaller, lost and faster are against dense float32. Accuracy is top-1 on 1,000 test images, through the model file; ± is half the width of its 95% Wilson interval; a negative loss is a gain. Latency: 50 timed runs, 1 thread.

## What each step cost

| step  | accuracy % | ± 95% | points lost | in all | images         |
| ----- | ---------: | ----: | ----------: | -----: | -------------- |
| dense |      90.00 |  4.19 |           - |      - | 200 validation |
| cut   |      50.00 |  6.86 |       40.00 |  40.00 | 200 validation |

Accuracy of the Keras model. Points lost: against the step before, in all: against the first step on the same images; negative is a gain. ± is half the width of the 95% Wilson interval.

## Dataset

| name | value    |
| ---- | -------- |
| name | invented |

## Settings

| name | value |
| ---- | ----- |
| seed | 12345 |

Created 2025-01-02.
"""  # noqa: E501


def test_markdown_of_several_runs():
    text = render_markdown(full_report(), full_report())
    assert text.startswith("# test data (1) vs test data (2)\n")
    assert "\n## test data (2)\n" in text
    assert "\n### What stays of each block\n" in text
    assert text.count("| test data (2) | slim  | int8 ") == 1
    with pytest.raises(ReportError, match="expected at least one report"):
        render_markdown()


def test_round_trip():
    report = full_report()
    again = from_json(to_json(report))
    assert again == report
    assert to_json(again) == to_json(report)
    assert render_markdown(again) == render_markdown(report)
    odd = Report("caf\udce9", "", dataset={"n": np.int64(3)}, history=({"loss": math.nan},))
    assert from_json(to_json(odd)) == odd
    assert odd.title == "caf\\udce9"


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda c: "{", "expected a report, found broken JSON"),
        (lambda c: [], "expected a report of format 'hwkeras-report-1'; found 'list'"),
        (lambda c: {**c, "format": "hwkeras-plan-1"}, "found 'hwkeras-plan-1'"),
        (lambda c: {k: v for k, v in c.items() if k != "title"}, "'title' is missing"),
        (lambda c: {**c, "colour": 1}, "there is no field 'colour'"),
        (lambda c: {**c, "steps": 3}, "'steps': expected list, found 3"),
        (lambda c: {**c, "history": [3]}, "history 1: expected an object, found 3"),
        (lambda c: {**c, "measurements": [3]}, "measurements 1: expected an object, found int"),
        (lambda c: {**c, "stats": {}}, "broken report: expected a gate statistics"),
        (
            lambda c: {**c, "measurements": [{**c["measurements"][0], "size_bytes": True}]},
            "broken report, measurements 1: 'size_bytes': expected int, found True",
        ),
        (
            lambda c: {**c, "measurements": [{**c["measurements"][0], "accuracy": 90.0}]},
            "dense float32: accuracy: expected 0 to 1, found 90.0",
        ),
    ],
)
def test_broken_reports_are_refused(change, message):
    changed = change(json.loads(to_json(full_report())))
    text = changed if isinstance(changed, str) else json.dumps(changed)
    with pytest.raises(ReportError) as error:
        from_json(text)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_measurements_that_cannot_be_are_refused():
    with pytest.raises(ReportError, match="expected a path relative to the run, found '/tmp/x'"):
        Measurement("dense", "int8", "/tmp/x", 1)
    with pytest.raises(ReportError, match="at least one image behind it, found 0"):
        Measurement("dense", "int8", "x", 1, accuracy=0.5)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(file(), "note", "changed")  # noqa: B010


def test_page_stands_alone(page):
    parsed = Page(page)
    for name, value in parsed.attributes:
        if name in ("src", "href", "xlink:href", "srcset", "action", "data"):
            assert value.startswith("#"), (name, value)
        assert not name.startswith("on")
    assert not {"script", "link", "img", "iframe", "object"} & set(parsed.tags)
    assert not re.search(r"url\((?!#)|@import", page)
    assert parsed.tags.count("svg") == 6
    ids = collections.Counter(value for name, value in parsed.attributes if name == "id")
    assert max(ids.values()) == 1
    used = re.findall(r'(?:xlink:href="|url\()#([^")]+)', page)
    assert used and set(used) <= set(ids)


def test_page_has_the_tables_of_the_markdown(page):
    text = Page(page).text
    for words in ("What each step cost", "stage3_block6", "12345", "32 x 32 x 3", "6.67"):
        assert words in text


def test_same_report_same_page():
    assert render_html(full_report()) == render_html(full_report())


def test_hostile_names_are_text():
    report = full_report()
    assert report.stats and report.plan
    blocks = [
        dataclasses.replace(block, name=HOSTILE + block.name) for block in report.stats.blocks
    ]
    stats = dataclasses.replace(report.stats, blocks=tuple(blocks))
    hostile = Report(
        title=HOSTILE,
        created=HOSTILE,
        dataset={HOSTILE: HOSTILE, "classes": (HOSTILE, "</style>")},
        stats=stats,
        plan=make_plan(stats, keep=0.5),
        history=({"phase": HOSTILE, "val_accuracy": 0.5},),
        steps=(Step(HOSTILE, 0.5, 10, HOSTILE, HOSTILE),),
        measurements=(file(HOSTILE, HOSTILE, 1000, note=HOSTILE, undelegated={HOSTILE: 1}),),
    )
    light = dataclasses.replace(hostile, stats=None, plan=None, history=())
    for page in (render_html(hostile), render_html(light, light)):
        parsed = Page(page)
        assert "script" not in parsed.tags
        assert HOSTILE in parsed.text
    text = render_markdown(hostile)
    assert "<script" not in text
    tables = re.findall(r"(?:^\|.*\n)+", re.sub(r"\\.", "", text), re.MULTILINE)
    assert len(tables) == 5
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1


@pytest.mark.parametrize("missing", ["stats", "plan", "history", "measurements", "steps"])
def test_a_report_with_something_missing_renders(missing):
    empty = None if missing in ("stats", "plan") else ()
    report = dataclasses.replace(full_report(), **{missing: empty})
    assert from_json(to_json(report)) == report
    assert render_markdown(report).startswith("# test data")
    assert Page(render_html(report)).tags.count("svg") == {"measurements": 3, "steps": 6}.get(
        missing, 5
    )


def test_an_empty_report_renders():
    report = Report("nothing", "2025-01-02")
    text = "# nothing\n\nNo model file was measured.\n\nCreated 2025-01-02.\n"
    assert render_markdown(report) == text
    assert "svg" not in Page(render_html(report)).tags


def test_pictures_are_svg_with_their_names_as_text():
    report = full_report()
    assert report.stats and report.plan
    series = {"dense": report.measurements[:4], "slim": report.measurements[4:]}
    drawn = {
        pictures.size_accuracy(series): ["float16", "dynamic", "dense", "slim"],
        pictures.latency(series): ["float16", "0.312", "8.00"],  # 8 ms * 0.26 * 0.15
        pictures.gates(report.stats, report.plan): ["stage1_block1", "stage2_block3", "stays"],
        pictures.gates(report.stats): ["stage1_block1"],
        pictures.kept_channels(report.plan): ["stage1_block1", "goes"],
        pictures.curves(report.history): ["dense", "finetune", "mean gate"],
    }
    for svg, words in drawn.items():
        root = xml.etree.ElementTree.fromstring(svg)
        texts = {"".join(e.itertext()).strip() for e in root.iter() if e.tag.endswith("}text")}
        assert set(words) <= texts
        assert root.get("aria-label")


@pytest.mark.filterwarnings("error")
def test_a_variant_that_is_larger_than_the_dense_file_is_drawn_too():
    drawn = pictures.factors([Product("bytes", "int8", alone=0.8, cut=0.9, together=0.75)])
    assert "int8" in drawn


def test_gates_are_drawn_on_the_score_of_the_plan():
    stats = gate_stats()
    assert "mean gate t" in pictures.gates(stats, make_plan(stats, keep=0.5, by="gate"))
    assert "mean update" in pictures.gates(stats, make_plan(stats, kept={"stage1_block1": [0]}))
    # a cutoff that is a share, or divided by a cost, has no place on that axis
    for rules, drawn in (({}, True), ({"normalizer": "lamp"}, False), ({"per": "macs"}, False)):
        assert ("cutoff" in pictures.gates(stats, make_plan(stats, keep=0.5, **rules))) == drawn


@pytest.mark.parametrize("value", [0.0, 0.25])
def test_gates_that_are_all_alike_are_drawn(value):
    block = BlockStats("one", BlockShape(1, 2, (), 1, False), (0, 1), *[(value, value)] * 3)
    stats = GateStats("d1ce", 1, Cost(0, 0), (block,))
    assert "one" in pictures.gates(stats, make_plan(stats, keep=0))


def test_names_of_points_in_one_place_do_not_overlap():
    names = ["int8", "dynamic", "int16x8", "clustered"]
    svg = pictures.size_accuracy({"slim": [file("slim", name, 1000) for name in names]})
    boxes = []
    for name in names:
        # A text's place is its middle; letters are 8.5 units high and about 6 wide.
        place = re.search(rf"translate\(([\d.]+) ([\d.]+)\)[^>]*>{name}<", svg)
        place = place or re.search(rf' x="([\d.]+)" y="([\d.]+)"[^>]*>{name}<', svg)
        assert place, name
        x, y, half = float(place[1]), float(place[2]), 3 * len(name)
        boxes.append((x - half, x + half, y - 4, y + 4))
    for a, b in itertools.combinations(boxes, 2):
        assert a[1] < b[0] or b[1] < a[0] or a[3] < b[2] or b[3] < a[2]
