"""One search over ten groups of very different sizes, through the catalog that the server searches with."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Generator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import Report
from service.search.catalog import Catalog
from service.search.protocol import Blocks
from service.search.tiered import TieredIndex
from service.values import Change, ChangeMark, Embedding, Embeddings, LogHead

SIZES = (10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000, 500_000)
"""For a gallery of a million faces; a smaller one gets smaller groups."""
OF_FACES = 1_000_000
SMALLEST = 10
APP = 1
BLOCK = 8192
LIMIT = 50
TOGETHER = 1.1
"""One search over all groups may take so many times what searches of each take: timers and noise."""
ONE_USER = 0.2


@dataclass(frozen=True)
class GroupSource:
    """Satisfies :class:`service.search.protocol.ChangeSource`: one app that never changes.

    Each group holds the first faces ``(n, dimension)``; user and face numbers of different groups differ.
    """

    faces: Embeddings
    users: NDArray[np.int64]
    sizes: tuple[int, ...]

    def snapshot(
        self, app_pk: int | None = None, *, without: Collection[int] = ()
    ) -> Generator[tuple[int, LogHead, Blocks], None, None]:
        del app_pk
        if APP not in without:
            yield APP, LogHead(0, None), self._blocks()

    def mark(self, app_pk: int, seq: int) -> ChangeMark | None:
        del app_pk, seq
        return None

    def count(self, app_pk: int) -> tuple[int, int]:
        del app_pk
        return 0, len(self.users)

    def changes_since(self, app_pk: int, seq: int, limit: int) -> list[Change]:
        del app_pk, seq, limit
        return []

    def head(self, app_pk: int) -> int | None:
        return 0 if app_pk == APP else None

    def heads(self) -> dict[int, int]:
        return {APP: 0}

    def user(self, group: int, person: int) -> int:
        """The person's number in a group."""
        return group * len(self.faces) + person

    def _blocks(self) -> Blocks:
        for group, size in enumerate(self.sizes):
            for start in range(0, size, BLOCK):
                rows = np.arange(start, min(start + BLOCK, size))
                numbers = self.user(group, 0)
                yield rows + numbers, self.users[rows] + numbers, np.full(len(rows), group), self.faces[rows]
        return 0


def measure_groups(
    report: Report, faces: Embeddings, users: NDArray[np.int64], probes: Embeddings, threshold: float
) -> None:
    """A search of ten groups against the sum of ten searches, taken by turns; and a search for one user in ten."""
    sizes = tuple(max(SMALLEST, size * len(faces) // OF_FACES) for size in SIZES)
    source = GroupSource(faces, users, sizes)
    catalog = Catalog(source, faces.shape[1], TieredIndex)
    catalog.load()
    groups = range(len(sizes))
    together, apart, one = [], [], []
    for number, probe in enumerate(probes):
        user = source.user(number % len(sizes), int(users[number % SMALLEST]))
        together.append(_took(lambda probe=probe: catalog.search(APP, groups, probe, LIMIT, threshold)))  # type: ignore[misc]
        apart.append(sum(_alone(catalog, probe, threshold, group) for group in groups))
        one.append(_took(lambda probe=probe, user=user: catalog.search_user(APP, groups, [user], probe)))  # type: ignore[misc]
    found = {name: round(float(np.median(times)), 3) for name, times in (("together", together), ("apart", apart))}
    report.figure(f"ours: ten groups of {sizes[0]} to {sizes[-1]} faces, ms", found)
    report.at_most("ten groups in one search / one by one", round(found["together"] / found["apart"], 2), TOGETHER)
    report.figure("ours: one user in ten groups, ms", round(float(np.median(one)), 3))
    report.at_most("one user in ten groups, ms", round(float(np.median(one)), 3), ONE_USER)


def _alone(catalog: Catalog, probe: Embedding, threshold: float, group: int) -> float:
    return _took(lambda: catalog.search(APP, [group], probe, LIMIT, threshold))


def _took(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return (time.perf_counter() - begin) * 1000
