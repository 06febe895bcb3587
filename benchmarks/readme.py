"""Writes the tables of README and notes from the committed reports and benchmarks.

    python benchmarks/readme.py            # after `results/` changed

A table stands between `<!-- results/... .json -->` and `<!-- end -->`: of a report, or of one of
the benchmarks in `TABLES`.
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
FILES = ("README.md", "results/cifar10/NOTES.md")
COLUMNS = (
    "model", "variant", "bytes", "gzip bytes", "times smaller", "accuracy %", "± 95%",
    "points lost", "times faster", "partitions",
)  # fmt: skip
BLOCK = re.compile(r"(<!-- (results/\S+\.json) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(text: str, root: Path = ROOT) -> str:
    """Returns a text with its tables made anew from the reports they name."""

    def table(found: re.Match) -> str:
        content = (root / found[2]).read_text(encoding="utf-8")
        benchmark = TABLES.get(Path(found[2]).name)
        if benchmark:
            made = benchmark(json.loads(content)["measurements"])
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


def four_bits(measurements: list[dict]) -> Table:
    """Returns how near each file's answers are to those of float32."""
    rows = []
    for row in measurements:
        images = row["calibration_images"]
        rounding = ", together" if images else ", each to the nearest"
        rows.append(
            (
                row["variant"] + (rounding if row["variant"] == "int4" else ""),
                str(images or ""),
                f"{row['bytes']:,}",
                f"{row['accuracy']:.2%}"[:-1],
                f"{row['squared_difference']:.4f}",
            )
        )
    columns = ("file", "calibration images", "bytes", "validation %", "squared difference")
    return Table("Four bits", columns, "lrrrr", tuple(rows))


def latency_aims(measurements: list[dict]) -> Table:
    """Returns the time of plans that count different things, against the dense net's."""
    found = {(m["type"], m["aim"], m["counts"]): m for m in measurements}
    rows = []
    for kind, aim in dict.fromkeys((m["type"], m["aim"]) for m in measurements):
        timed, *others = (found[kind, aim, counts] for counts in ("latency", "macs", "parameters"))
        shares = (f"{row['measured']:.0%}" for row in (timed, *others))
        rows.append((kind, f"{aim:.0%}", f"{timed['foretold']:.0%}", *shares))
    columns = ("type", "aim", "foretold", "measured", "as many MACs", "as many parameters")
    return Table("Latency aims", columns, "lrrrrr", tuple(rows))


def headline(measurements: list[dict]) -> Table:
    """Returns the dense net, the poster's figures and ours, with int8 on top."""
    dense = measurements[0]
    rows = []
    for row in sorted(measurements, key=lambda m: -m["parameters_share"]):
        measured = "bytes" in row
        rows.append(
            (
                row["model"],
                row["variant"],
                f"{row['parameters_share']:.1%}",
                formats.count(row["bytes"]) if measured else "5.2 Mb",
                formats.times(dense["bytes"], row["bytes"]) if measured else "6.5",
                formats.percent(row["accuracy"]) if measured else "",
                f"{row['lost']:.2f}",
                formats.times(dense["latency_ms"], row["latency_ms"]) if measured else "",
            )
        )
    columns = (
        "net", "variant", "parameters", "bytes", "times smaller", "accuracy %", "points lost",
        "times faster",
    )  # fmt: skip
    return Table("CIFAR-10", columns, "llrrrrrr", tuple(rows))


def frontier(measurements: list[dict]) -> Table:
    """Returns test accuracy, with the spread over seeds, at multiply-accumulates, by size for each
    way to get there; the parameters are the first one's."""
    made = {m["method"] for m in measurements}
    order = ("default", "gates", "early", "rounds", "narrow", "taylor", "l1", "random")
    methods = [m for m in order if m in made]

    def cell(found: list[dict]) -> str:
        if not found:
            return ""
        ends = (min(m["test"] for m in found), max(m["test"] for m in found))
        spread = " to ".join(dict.fromkeys(f"{100 * end:.2f}" for end in ends))
        return f"{spread} @ {found[0]['macs'] / 1e6:.1f} M"

    rows = []
    dense = next(m for m in measurements if m["method"] == "dense")
    sizes = {(m["counts"], m["share"]) for m in measurements if m["method"] != "dense"}
    for counts, share in sorted(sizes, key=lambda size: (size[0] != "parameters", -size[1])):
        same = [m for m in measurements if (m["counts"], m["share"]) == (counts, share)]
        found = {method: [m for m in same if m["method"] == method] for method in methods}
        first = next(some[0] for some in found.values() if some)
        cells = [cell(found[method]) for method in methods]
        rows.append((aim_words(counts, share), f"{first['parameters'] / 1e6:.2f} M", *cells))
    whole = ("not cut, trained on", f"{dense['parameters'] / 1e6:.2f} M", cell([dense]))
    rows.insert(0, (*whole, *[""] * (len(methods) - 1)))
    columns = ("aim", "parameters", *methods)
    return Table("Frontier", columns, "lr" + "r" * len(methods), tuple(rows))


def aim_words(counts: str, share: float) -> str:
    return f"{share:.0%} of the {'MACs' if counts == 'macs' else counts}"


def deep_cuts(measurements: list[dict]) -> Table:
    """Returns validation accuracy by aim and way to cut, the worst way to an aim first."""
    rows = []
    best = sorted(measurements, key=lambda m: (m["counts"] == "macs", m["share"], m["validation"]))
    for m in best:
        way = (m.get("normalizer", "none"), str(m["minimum"]), f"{m['cut_carried']:g}")
        size = (f"{m['parameters']:,}", f"{m['macs'] / 1e6:.1f} M")
        kept = ", ".join(map(str, m["kept"]))
        accuracy = f"{100 * m['validation']:.2f}"
        rows.append((aim_words(m["counts"], m["share"]), *way, *size, kept, accuracy))
    columns = (
        "aim", "normalizer", "minimum", "cut carried", "parameters", "MACs",
        "kept, by block", "validation %",
    )  # fmt: skip
    return Table("Deep cuts", columns, "llrrrrlr", tuple(rows))


TABLES = {
    "four_bits.json": four_bits,
    "deep_cuts.json": deep_cuts,
    "graph.json": forms,
    "latency_aim.json": latency_aims,
    "headline.json": headline,
    "frontier.json": frontier,
}


if __name__ == "__main__":
    for path in map(ROOT.joinpath, FILES):
        path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")
