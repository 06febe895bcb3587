"""Whether compression multiplies with pruning: the product test, by numbers worked out by hand."""

import dataclasses
import json

import pytest

from export.measurement import Measurement, Report, from_json, to_json
from export.orthogonality import products
from export.report import render_html, render_markdown
from export.tables import product_table, together_table


def row(model, variant, size_bytes, gzip_bytes, latency_ms):
    return Measurement(
        model, variant, f"{model}-{variant}.tflite", size_bytes, gzip_bytes,
        accuracy=0.9, images=100, latency_ms=latency_ms,
    )  # fmt: skip


ROWS = (
    row("dense", "float32", 1000, 800, 4.0),
    row("dense", "int8", 250, 200, 2.0),
    row("slim", "float32", 200, 100, 1.0),
    row("slim", "int8", 62, 50, 1.0),
    row("slim", "int4", 40, 30, None),
)


def test_factors_by_hand():
    found = {(test.quantity, test.variant): test for test in products(ROWS)}
    assert set(found) == {("bytes", "int8"), ("gzip bytes", "int8"), ("latency", "int8")}
    size = found["bytes", "int8"]
    assert (size.alone, size.cut, size.expected) == (4, 5, 20)
    assert size.together == pytest.approx(1000 / 62)
    assert size.ratio == pytest.approx(50 / 62)
    # Of 4 ms the variant leaves half and the cut a quarter, both together a quarter.
    assert (found["latency", "int8"].expected, found["latency", "int8"].ratio) == (8, 0.5)
    assert found["gzip bytes", "int8"].ratio == pytest.approx((800 / 50) / (4 * 8))


@pytest.mark.parametrize("missing", range(4))
def test_nothing_is_made_up(missing):
    rows = [row for i, row in enumerate(ROWS) if i != missing]
    assert products(rows) == []


def test_a_quantity_that_was_not_measured_is_left_out():
    rows = [dataclasses.replace(row, gzip_bytes=None) for row in ROWS]
    assert {test.quantity for test in products(rows)} == {"bytes", "latency"}


def test_the_tables():
    report = Report("run", "2025-01-02", measurements=ROWS)
    together = together_table(report)
    assert together.columns[:3] == ("variant", "dense bytes", "dense gzip bytes")
    assert together.rows[1] == (
        "int8", "250", "200", "90.00", "2.000", "62", "50", "90.00", "1.000",
    )  # fmt: skip
    assert together.rows[2] == ("int4", "-", "-", "-", "-", "40", "30", "90.00", "-")
    assert product_table(report).rows[0] == (
        "bytes", "int8", "4.00", "5.00", "20.0", "16.1", "0.81",
    )  # fmt: skip


def test_it_is_in_all_three_forms():
    report = Report("run", "2025-01-02", measurements=ROWS)
    content = json.loads(to_json(report))
    assert content["orthogonality"][0] == {
        "quantity": "bytes", "variant": "int8", "alone": 4.0, "cut": 5.0, "together": 1000 / 62,
        "expected": 20.0, "ratio": 1000 / 62 / 20,
    }  # fmt: skip
    assert from_json(to_json(report)) == report
    assert "## Are they orthogonal?" in render_markdown(report)
    page = render_html(report)
    assert "Pruning and compression together" in page
    assert "What pruning and compression save alone and together" in page  # the picture


def test_one_model_has_no_such_section():
    report = Report("run", "2025-01-02", measurements=ROWS[2:])
    assert not together_table(report).rows and not product_table(report).rows
    assert "orthogonal" not in render_markdown(report)
