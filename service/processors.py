"""How many processors this process may really use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_GROUPS = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")


def available_cpus() -> int:
    """CPUs this process may use: its affinity, cut by the quota of its control group (version 2 or 1), at least 1."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = group_quota(_GROUPS, _MEMBERSHIP)
    return max(1, min(count, int(quota))) if quota is not None else max(1, count)


def group_quota(groups: Path, membership: Path) -> float | None:
    """CPUs, e.g. 1.5, that the least generous of this process's control groups grants; ``None`` where none limits it.

    ``groups`` is where they are mounted, ``membership`` tells which are this process's: in a container mostly the
    topmost that it sees, else one of systemd's (``CPUQuota=``), which lies in others that may have quotas of their own.
    """
    grants = (_granted(folder) for folder in _folders(groups, membership))
    return min((granted for granted in grants if granted is not None), default=None)


def _folders(groups: Path, membership: Path) -> Iterator[Path]:
    """Of the groups that may limit this process, in both versions; not all of them need be there."""
    yield groups
    yield groups / "cpu"
    try:
        lines = membership.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        own = PurePosixPath(path.lstrip("/"))
        others = controllers and "cpu" not in controllers.split(",")
        if others or ".." in own.parts:  # that lies above what is mounted here
            continue
        hierarchy = groups / "cpu" if controllers else groups
        yield from (hierarchy / folder for folder in (own, *own.parents))


def _granted(folder: Path) -> float | None:
    """What one group grants by itself."""
    try:
        quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        try:
            quota = (folder / "cpu.cfs_quota_us").read_text(encoding="ascii").strip()
            period = (folder / "cpu.cfs_period_us").read_text(encoding="ascii").strip()
        except OSError:
            return None
    try:
        granted = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):  # "max": no limit
        return None
    return granted if granted > 0 else None  # version 1 writes -1 for no limit
