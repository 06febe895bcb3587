"""The form of a block is the one whose measured prices are lowest."""

import json

import pytest
from conftest import ROOT

from export.forms import CONVOLUTION, PRICES, SLICES, Form, Geometry, Operator, Prices, choose_forms

PLAIN, WHOLE = Form(SLICES, SLICES), Form(CONVOLUTION, CONVOLUTION)
ROWS = 256
ONE_RUN = Geometry(ROWS, 9, 64, 64, ((8, 24),))
THREE_RUNS = Geometry(ROWS, 9, 64, 64, ((0, 4), (20, 24), (60, 64)))


def names(operators):
    return [operator.name for operator in operators]


def test_operators_of_one_run():
    assert names(ONE_RUN.operators(PLAIN)) == [
        "elementwise 256 x 64",  # norm
        "convolution 256 x 9 x 64 -> 16",
        "convolution 256 x 9 x 16 -> 16",
        *["elementwise 256 x 16"] * 3,  # sigmoid, difference, product
        "copy 256 x 16",  # the run, taken
        "elementwise 256 x 16",  # its update
        "copy 256 x 8", "copy 256 x 40",  # what is carried
        "copy 256 x 8", "copy 256 x 16", "copy 256 x 40",  # put together
    ]  # fmt: skip


def test_operators_of_a_whole_block_copy_nothing():
    whole = Geometry(ROWS, 9, 64, 64, ((0, 64),))
    assert not [n for n in names(whole.operators(PLAIN)) if n.startswith("copy")]


def test_operators_of_convolutions():
    assert names(THREE_RUNS.operators(WHOLE))[6:] == [
        "convolution 256 x 1 x 64 -> 12",
        "convolution 256 x 1 x 12 -> 64",
        "elementwise 256 x 64",
    ]
    # 12 channels of 64 taken out and put back: 2 x 64 x 12 weights, 12 + 64 output channels.
    assert THREE_RUNS.extra_bytes(WHOLE, PRICES["float32"]) == 4 * 2 * 64 * 12
    assert THREE_RUNS.extra_bytes(WHOLE, PRICES["int8"]) == 2 * 64 * 12 + 28 * (12 + 64)
    assert THREE_RUNS.extra_bytes(PLAIN, PRICES["int8"]) == 0


def test_many_parts_are_put_together_in_nested_fours():
    runs = tuple((start, start + 1) for start in range(0, 16, 2))
    copies = names(Geometry(1, 9, 16, 16, runs).operators(PLAIN))
    taken = [n for n in copies if n.startswith("copy")][:18]
    # 8 slices; 8 parts in two groups of four; the two groups.
    assert taken == ["copy 1 x 1"] * 16 + ["copy 1 x 4"] * 2


def test_convolutions_pay_for_whole_tiles():
    assert Operator.convolution(10, 9, 4, 17).features[-1] == 10 * 9 * 4 * 32


def test_time_is_the_sum_of_what_operators_hold():
    prices = Prices((1.0, 0.01, 0.1, 0.0, 0.0, 0.0, 0.0), 4, 4)
    operators = [Operator.elementwise(10, 5), Operator.copy(10, 5)]
    assert prices.time(operators) == pytest.approx((1 + 0.5) + (1 + 1.0))


def test_dear_copies_make_convolutions_and_dear_arithmetic_makes_slices():
    copying = Prices((0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1e-6), 1, 0)
    counting = Prices((0.0, 0.0, 1e-6, 0.0, 0.0, 0.0, 1.0), 1, 0)
    assert choose_forms([THREE_RUNS], copying, 10**9) == [WHOLE]
    assert choose_forms([THREE_RUNS], counting, 10**9) == [PLAIN]


def test_time_is_not_bought_with_too_many_bytes():
    # Convolutions save three quarters of the time; in a net of 100 weights they cost more.
    prices = Prices((0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1e-6), 4, 4)
    assert choose_forms([THREE_RUNS], prices, 10**9) == [WHOLE]
    assert choose_forms([THREE_RUNS], prices, 100) == [PLAIN]


@pytest.mark.parametrize("kind", PRICES)
def test_measured_prices_copy_a_single_run(kind):
    assert choose_forms([ONE_RUN], PRICES[kind], 10**6) == [PLAIN]


def test_no_blocks_have_no_forms():
    assert choose_forms([], PRICES["int8"], 10) == []


def test_prices_are_those_of_the_committed_measurement():
    measured = json.loads((ROOT / "results" / "forms.json").read_text())["prices"]
    for kind, prices in PRICES.items():
        assert dict(zip(Operator.FEATURES, prices.microseconds, strict=True)) == measured[kind]
