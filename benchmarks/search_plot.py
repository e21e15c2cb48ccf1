"""Latency and recall against the size of the gallery, ours beside other ways to search, measured and drawn.

    python -m benchmarks.search_plot [--quick] [--json] [--sizes 10000,30000] [--ways "ours,flat float32"]

The task is that of ``benchmarks.search``: the best 50 people of faces that reach the score of 80, one thread, 512
numbers. Figures are kept in ``benchmarks/search_figures.json``, so that a part can be measured again without the rest;
the picture is drawn from all of them: ``docs/pictures/search.svg``. ``--quick`` measures the smallest gallery and keeps
nothing; ``--large`` also builds graphs over the large ones, ``--draw`` only draws.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.harness import Report, in_one_thread, parser
from benchmarks.search import LIMIT, RECALL_50, Task, fill, latency, make_task, peer_recall, recalls
from benchmarks.search_peers import PEERS
from service.search.tiered import TieredIndex

FIGURES = Path(__file__).with_name("search_figures.json")
PICTURE = Path(__file__).resolve().parents[1] / "docs" / "pictures" / "search.svg"
SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000)
DIMENSION = 512
PROBES = 100
RECALL_PROBES = 40
SCANS = 9
"""Probes of those that look at everything: their times hardly differ."""
OURS = "ours"
WAYS = (OURS, "flat float32", "flat float16", "FAISS HNSW")
MOST = {"FAISS HNSW": 100_000, "hnswlib": 100_000, "usearch": 100_000, "pgvector HNSW": 30_000, "milvus-lite": 100_000}
"""Galleries that are still built within minutes on two cores."""
STYLES: dict[str, dict[str, Any]] = {
    OURS: {"color": "#c0392b", "marker": "o", "linewidth": 2.4},
    "flat float32": {"color": "#34495e", "marker": "s"},
    "flat float16": {"color": "#7f8c8d", "marker": "^"},
    "FAISS HNSW": {"color": "#2980b9", "marker": "D"},
    "hnswlib": {"color": "#16a085", "marker": "v"},
    "usearch": {"color": "#8e44ad", "marker": "P"},
    "pgvector HNSW": {"color": "#d35400", "marker": "X"},
    "milvus-lite": {"color": "#b7950b", "marker": "*"},
}

Found = dict[str, float]
"""``p50``, ``p99`` and ``best`` in milliseconds, and ``recall`` of users."""


def ours(task: Task) -> Found:
    """The index of the server, at rest."""
    index = TieredIndex(task.faces.shape[1])
    fill(index, task)
    threshold = task.statistics.threshold
    found = latency(lambda number: index.search(task.probes[number], LIMIT, threshold), len(task.probes))
    _, share, _ = recalls(index, task.probes[:RECALL_PROBES], threshold)
    return {**found, "recall": round(share, 4)}


def peer(name: str) -> Callable[[Task], Found]:
    """Another way; raises :class:`LookupError` where it is not to be had."""

    def measured(task: Task) -> Found:
        count = SCANS if name.startswith("flat") else len(task.probes)
        with PEERS[name].open(task.faces) as find:
            if find is None:
                raise LookupError(f"{name} is not to be had here")
            found = latency(lambda number: find(task.probes[number]), count)
            share = peer_recall(find, task, len(task.faces), RECALL_PROBES)
        return {**found, "recall": round(share, 4)}

    return measured


def measure(report: Report, sizes: list[int], ways: list[str], most: Mapping[str, int]) -> dict[str, dict[str, Found]]:
    """Figures by way and size; ``most`` says up to which size a way is measured."""
    measured: dict[str, dict[str, Found]] = {}
    for size in sizes:
        task = make_task(size, DIMENSION, PROBES)
        for way in ways:
            if size > most.get(way, size):
                continue
            try:
                found = (ours if way == OURS else peer(way))(task)
            except (LookupError, ImportError) as error:
                report.figure(f"{way}, {size}", str(error))
                continue
            report.figure(f"{way}, {size}", found)
            measured.setdefault(way, {})[str(size)] = found
            if way == OURS:
                report.at_least(f"recall of users at {size}", found["recall"], RECALL_50)
    return measured


def merged(new: dict[str, dict[str, Found]]) -> dict[str, dict[str, Found]]:
    """The figures kept, with new ones in the place of older; kept again."""
    kept: dict[str, dict[str, Found]] = json.loads(FIGURES.read_text("utf-8")) if FIGURES.exists() else {}
    for way, found in new.items():
        kept.setdefault(way, {}).update(found)
    kept = {way: dict(sorted(kept[way].items(), key=lambda pair: int(pair[0]))) for way in sorted(kept)}
    FIGURES.write_text(json.dumps(kept, indent=1) + "\n", "utf-8")
    return kept


def draw(figures: dict[str, dict[str, Found]], path: Path = PICTURE) -> None:
    """Two panels over the number of faces: latency, and recall of users.

    The shortest time is drawn: neighbours on a shared machine move medians by more than the ways differ.
    """
    figure = Figure(figsize=(9.6, 4.2), layout="constrained")
    slow, right = figure.subplots(1, 2)
    for way in sorted(figures, key=lambda name: list(STYLES).index(name)):
        sizes = [int(size) for size in figures[way]]
        style: dict[str, Any] = {"linewidth": 1.4, "markersize": 5, **STYLES[way]}
        slow.plot(sizes, [found["best"] for found in figures[way].values()], label=way, **style)
        right.plot(sizes, [found["recall"] for found in figures[way].values()], label=way, **style)
    for axes, title in (
        (slow, "shortest of 100 searches (scans: of 9), ms"),
        (right, "share of the 50 best people found"),
    ):
        axes.set_xscale("log")
        axes.set_xlabel("faces of 512 numbers in one group, 5 a person")
        axes.set_title(title, fontsize=10)
        axes.grid(visible=True, which="major", color="#dddddd", linewidth=0.6)
        axes.set_xticks(SIZES, [_short(size) for size in SIZES])
        axes.minorticks_off()
    slow.set_yscale("log")
    figure.legend(*slow.get_legend_handles_labels(), loc="outside lower center", ncols=7, fontsize=8, frameon=False)
    lowest = min(found["recall"] for sizes in figures.values() for found in sizes.values())
    right.set_ylim(min(0.9, np.floor(10 * lowest) / 10), 1.01)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _short(size: int) -> str:
    return f"{size // 1_000_000}M" if size >= 1_000_000 else f"{size // 1000}k"


def main() -> int:
    """Measure what was asked for, keep it, draw everything."""
    options = parser(__doc__)
    options.add_argument("--sizes", help=f"comma separated; default: {','.join(map(str, SIZES))}")
    options.add_argument("--ways", default=",".join(WAYS), help=f"of {', '.join((OURS, *PEERS))}")
    options.add_argument("--large", action="store_true", help="graphs over large galleries too: up to an hour for each")
    options.add_argument("--draw", action="store_true", help="only draw what was measured before")
    chosen: argparse.Namespace = options.parse_args()
    in_one_thread()
    report = Report("search_plot", chosen.json)
    sizes = [int(size) for size in chosen.sizes.split(",")] if chosen.sizes else list(SIZES)
    ways = [way.strip() for way in chosen.ways.split(",")]
    if chosen.quick:
        measure(report, sizes[:1], ways, MOST)
    else:
        figures = merged({} if chosen.draw else measure(report, sizes, ways, {} if chosen.large else MOST))
        if figures:
            draw(figures)
            report.figure("drawn", PICTURE.name)
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
