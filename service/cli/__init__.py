"""The console script ``aipface``: thin commands over the use cases."""

import os

# Read by OpenMP (FAISS) and OpenBLAS (NumPy) when they are loaded, for threads that are started later too; so it is set
# before anything is imported that loads them. The work is spread over requests: threads within one fight for the
# processors, and turn on for tens of milliseconds after a matrix product that took a tenth of one. A search among
# 200,000 faces, one every 40 ms, cost 65 ms of processors instead of 3 (docs/performance.md).
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Where another program's processes count together (its name in the library's first releases, too) is not for ours.
for _name in ("PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"):
    os.environ.pop(_name, None)
