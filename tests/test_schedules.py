import pytest

from hwkeras.schedules import WarmupDecay


@pytest.mark.parametrize(
    "step, expected",
    [
        (0, 0.05),  # (0 + 1) of 20 steps that rise
        (9, 0.5),
        (19, 1.0),
        (60, 0.5),  # halfway down from 20 to 100
        (100, 0.0),
    ],
)
def test_one_cycle_rises_for_a_fifth_and_falls_linearly(step, expected):
    assert float(WarmupDecay(1.0, 100)(step)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("step, expected", [(19, 1.0), (40, 0.853553), (60, 0.5), (100, 0.0)])
def test_cosine_falls_as_half_a_wave(step, expected):
    # 40: a quarter down, (1 + cos(pi/4)) / 2
    assert float(WarmupDecay(1.0, 100, shape="cosine")(step)) == pytest.approx(expected, abs=1e-6)


def test_config_round_trip():
    schedule = WarmupDecay(0.3, 50, 0.1, "cosine")
    assert WarmupDecay.from_config(schedule.get_config()).get_config() == schedule.get_config()


def test_unknown_shape_is_refused():
    with pytest.raises(ValueError, match="expected a shape of"):
        WarmupDecay(0.1, 10, shape="step")
