"""Where a benchmark's figures go: a JSON that says what they were made on."""

from __future__ import annotations

import json
from pathlib import Path

# Cuts that most figures are of: scores of all blocks compared as they are, streams left whole.
AS_THEY_ARE = {"normalizer": "none", "cut_carried": 0.0}


def write_figures(path: Path, **content) -> None:
    """Writes what was measured, behind the machine and the versions that it was measured with."""
    from export.facts import machine, versions
    from hwkeras.files import write_text

    content = {"machine": machine(), "versions": versions(), **content}
    write_text(path, json.dumps(content, indent=1) + "\n")
