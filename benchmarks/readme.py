"""Writes the README's tables from the committed reports and benchmarks.

    python benchmarks/readme.py            # after `results/` changed

A table stands between `<!-- results/NAME/report.json -->`, or `<!-- results/graph.json -->`, and
`<!-- end -->`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from export import formats
from export.comparison import comparison
from export.measurement import from_json
from export.report import markdown_table
from export.tables import Table, select

ROOT = Path(__file__).resolve().parents[1]
COLUMNS = (
    "model", "variant", "bytes", "times smaller", "accuracy %", "± 95%", "points lost",
    "times faster", "partitions",
)  # fmt: skip
BLOCK = re.compile(r"(<!-- (results/\S+\.json) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(text: str, root: Path = ROOT) -> str:
    """Returns a README with its tables made anew from the reports they name."""

    def table(found: re.Match) -> str:
        content = (root / found[2]).read_text(encoding="utf-8")
        if found[2].endswith("graph.json"):
            made = forms(json.loads(content)["measurements"])
        else:
            made = select(comparison([("", from_json(content))]), COLUMNS)
        lines = markdown_table(made)
        return "".join([found[1], "\n", *(f"{line}\n" for line in lines), "\n", found[3]])

    return BLOCK.sub(table, text)


def forms(measurements: list[dict]) -> Table:
    """Returns how many times faster than the dense net slim nets are, by form and type."""
    found = {(m["net"], m["cut"], m["type"], m["form"]): m for m in measurements}
    compared = ("gather", "one-hot", "ours")
    rows = []
    for net, cut in dict.fromkeys((m["net"], m["cut"]) for m in measurements):
        ours = found[net, cut, "float32", "ours"]
        speed_ups = (
            formats.times(found[net, cut, kind, form]["speed_up"], 1)
            for kind in ("float32", "int8")
            for form in compared
        )
        rows.append((net, f"{cut:.0%}", formats.times(ours["mac_ratio"], 1), *speed_ups))
    headers = [f"{kind}: {compared[0]}" for kind in ("float32", "int8")]
    columns = (headers[0], *compared[1:], headers[1], *compared[1:])
    columns = ("net", "parameters cut", "MACs", *columns)
    return Table("Forms", columns, "lr" + "r" * 7, tuple(rows))


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(filled(readme.read_text(encoding="utf-8")), encoding="utf-8")
