"""Silence for libraries that write to the terminal on their own."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator

_NOWHERE = open(os.devnull, "w")  # never closed: a logger that is made in a block keeps it


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Drops warnings and what is written to stdout and stderr in the block, by Python and by C++.

    TensorFlow's converter and XNNPACK log from C++ and know no Python switch, so the two file
    descriptors themselves are redirected. What other threads print meanwhile is lost as well.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    saved = [(fd, os.dup(fd)) for fd in (1, 2)]
    try:
        for fd, _ in saved:
            os.dup2(_NOWHERE.fileno(), fd)
        with (
            contextlib.redirect_stdout(_NOWHERE),
            contextlib.redirect_stderr(_NOWHERE),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        for fd, copy in saved:
            os.dup2(copy, fd)
            os.close(copy)
