"""Silence for libraries that write to the terminal on their own."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Drops what is written to stdout and stderr inside the block, by Python and by C++.

    TensorFlow's converter and XNNPACK log from C++ and know no Python switch, so the two file
    descriptors themselves are redirected. What other threads print meanwhile is lost as well.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    saved = [(fd, os.dup(fd)) for fd in (1, 2)]
    with open(os.devnull, "w") as sink:
        try:
            for fd, _ in saved:
                os.dup2(sink.fileno(), fd)
            with contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink):
                yield
        finally:
            for fd, copy in saved:
                os.dup2(copy, fd)
                os.close(copy)
