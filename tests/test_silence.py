"""Silence for others' chatter, and what comes back afterwards."""

import logging
import os
import sys
import warnings

import pytest

from export.silence import silenced


def test_python_and_c_are_silent_inside_and_heard_outside(capfd):
    print("before")
    with silenced():
        print("lost")
        print("lost", file=sys.stderr)
        os.write(1, b"lost")  # as C++ does, past Python's streams
        os.write(2, b"lost")
        warnings.warn("lost", stacklevel=1)
    print("after")
    os.write(2, b"heard")
    assert capfd.readouterr() == ("before\nafter\n", "heard")


def test_an_error_comes_through_and_ends_the_silence(capfd):
    with pytest.raises(KeyError, match="why"), silenced():
        raise KeyError("why")
    print("heard")
    assert capfd.readouterr().out == "heard\n"


def test_a_logger_made_inside_does_not_break_later():
    with silenced():
        handler = logging.StreamHandler()
    handler.stream.write("still open")  # a closed stream would raise
    handler.flush()
