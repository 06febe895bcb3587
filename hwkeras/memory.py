"""Memory that a training step frees, kept for the next one."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_LARGEST = 1 << 30  # bytes
_LARGEST_DOCUMENTED = 32 << 20  # bytes, of the threshold for mmap: older versions take no more


def keep_freed_memory() -> bool:
    """Tells glibc's malloc to keep freed memory, and returns whether it was told; cheap to repeat.

    TensorFlow's generator data set, which is what Keras feeds batches through, tells it the
    opposite, for the whole process: from then on every large tensor is mapped from the system and
    given back, page by page, in each step, which on a CPU takes most of another step
    (`results/memory_kept.json`). Does nothing where there is no glibc.

    Source: https://man7.org/linux/man-pages/man3/mallopt.3.html
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # a C library of another kind
        return False
    mapped = any(mallopt(_M_MMAP_THRESHOLD, size) for size in (_LARGEST, _LARGEST_DOCUMENTED))
    trimmed = mallopt(_M_TRIM_THRESHOLD, _LARGEST)  # whatever became of the first
    return bool(mapped and trimmed)
