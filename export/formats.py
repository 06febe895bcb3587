"""Numbers as text, the same way in every table and sentence; what is unknown is a "-"."""

from __future__ import annotations

import math
from typing import Any

MIB = 2**20
Z_95 = 1.959964  # normal quantile at 97.5%
UNKNOWN = "-"


def wilson_interval(share: float, images: int) -> tuple[float, float]:
    """Returns the 95% Wilson score interval of `share` out of `images`."""
    middle = (share + Z_95**2 / (2 * images)) / (1 + Z_95**2 / images)
    half = wilson_half_width(share, images)
    return middle - half, middle + half


def wilson_half_width(share: float, images: int) -> float:
    """Returns half the width of that interval."""
    spread = share * (1 - share) / images + Z_95**2 / (4 * images**2)
    return Z_95 * math.sqrt(spread) / (1 + Z_95**2 / images)


def points_lost(before: float, after: float) -> float:
    """Returns percentage points of accuracy lost, to a hundredth; negative for a gain."""
    return round(100 * (before - after), 2) + 0.0  # "+ 0.0" makes a rounded -0.0 positive


def count(value: int | None) -> str:
    return UNKNOWN if value is None else f"{value:,}"


def fixed(value: float | None, digits: int = 2) -> str:
    return UNKNOWN if value is None else f"{value:,.{digits}f}"


def percent(share: float | None, digits: int = 2) -> str:
    return UNKNOWN if share is None else f"{100 * share:.{digits}f}"


def interval(share: float | None, images: int) -> str:
    """Returns the half-width of an accuracy's interval, in points."""
    return UNKNOWN if share is None else f"{100 * wilson_half_width(share, images):.2f}"


def power(value: float | None) -> str:
    """Returns one digit and a power of ten."""
    return UNKNOWN if value is None else f"{value:.0e}" if value else "0"


def lost(before: float | None, after: float | None) -> str:
    if before is None or after is None:
        return UNKNOWN
    return f"{points_lost(before, after):.2f}"


def times(before: float | None, after: float | None) -> str:
    """Returns how many times less `after` is."""
    if not before or not after:
        return UNKNOWN
    ratio = before / after
    return f"{ratio:.2f}" if ratio < 9.995 else f"{ratio:,.1f}"


def size(size_bytes: int) -> str:
    return f"{size_bytes / MIB:.2f} MiB ({size_bytes:,} bytes)"


def fact(name: str, value: Any) -> str:
    """Returns a plain value as text; a seed is a name, so it gets no thousands separators."""
    if value is None or value == ():
        return UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return str(value) if "seed" in name else f"{value:,}"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple):
        between = " x " if all(isinstance(item, int) for item in value) else ", "
        return between.join(fact(name, item) for item in value)
    if isinstance(value, dict):
        return ", ".join(f"{key}: {fact(key, item)}" for key, item in value.items()) or UNKNOWN
    return str(value)


def number(value: Any) -> float | None:
    """Returns a value of a training history, or None where it is no number."""
    return float(value) if isinstance(value, (int, float)) else None
