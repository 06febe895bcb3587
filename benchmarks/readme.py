"""Writes the README's tables from the committed reports.

    python benchmarks/readme.py            # after `results/` changed

A table stands between `<!-- results/NAME/report.json -->` and `<!-- end -->`.
"""

from __future__ import annotations

import re
from pathlib import Path

from export.comparison import comparison
from export.measurement import from_json
from export.report import markdown_table
from export.tables import select

ROOT = Path(__file__).resolve().parents[1]
COLUMNS = (
    "model", "variant", "bytes", "gzip bytes", "times smaller", "accuracy %", "± 95%",
    "points lost", "times faster", "partitions",
)  # fmt: skip
BLOCK = re.compile(r"(<!-- (results/\S+\.json) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(text: str, root: Path = ROOT) -> str:
    """Returns a README with its tables made anew from the reports they name."""

    def table(found: re.Match) -> str:
        report = from_json((root / found[2]).read_text(encoding="utf-8"))
        lines = markdown_table(select(comparison([("", report)]), COLUMNS))
        return "".join([found[1], "\n", *(f"{line}\n" for line in lines), "\n", found[3]])

    return BLOCK.sub(table, text)


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(filled(readme.read_text(encoding="utf-8")), encoding="utf-8")
