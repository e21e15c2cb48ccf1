"""How many processors are granted: by affinity, containers and systemd."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from service.processors import available_cpus, group_quota

SERVICE = "/system.slice/aipface.service"
OWN = f"0::{SERVICE}\n"
OWN_OF_VERSION_1 = f"9:name=systemd:{SERVICE}\n4:cpu,cpuacct:{SERVICE}\n3:cpuset:/elsewhere\n"


@pytest.mark.parametrize(
    ("files", "membership", "quota"),
    [
        ({"cpu.max": "150000 100000\n"}, "0::/\n", 1.5),
        ({"cpu.max": "max 100000\n"}, "0::/\n", None),
        ({"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, None, 2.0),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None, None),
        ({f"{SERVICE[1:]}/cpu.max": "250000 100000\n"}, OWN, 2.5),
        ({f"{SERVICE[1:]}/cpu.max": "max 100000\n", "system.slice/cpu.max": "300000 100000\n"}, OWN, 3.0),
        ({f"{SERVICE[1:]}/cpu.max": "400000 100000\n", "system.slice/cpu.max": "300000 100000\n"}, OWN, 3.0),
        ({f"{SERVICE[1:]}/cpu.max": "200000 100000\n", "system.slice/cpu.max": "300000 100000\n"}, OWN, 2.0),
        ({"other.slice/cpu.max": "100000 100000\n"}, OWN, None),
        (
            {
                f"cpu{SERVICE}/cpu.cfs_quota_us": "200000\n",
                f"cpu{SERVICE}/cpu.cfs_period_us": "100000\n",
                "cpu/elsewhere/cpu.cfs_quota_us": "100000\n",
                "cpu/elsewhere/cpu.cfs_period_us": "100000\n",
            },
            OWN_OF_VERSION_1,
            2.0,
        ),
        ({"cpu.max": "200000 100000\n"}, "0::/docker/abc\n", 2.0),  # the path is the host's, the folders are ours
        ({"cpu.max": "200000 100000\n", "../cpu.max": "100000 100000\n"}, "0::/../x\n", 2.0),
        ({"cpu.max": "200000 100000\n"}, "nonsense\n\n:\n0::\n", 2.0),
        ({}, OWN, None),
        ({}, None, None),
    ],
)
def test_the_least_quota_above_a_process_counts(
    tmp_path: Path, files: dict[str, str], membership: str | None, quota: float | None
) -> None:
    groups = tmp_path / "groups"
    groups.mkdir()
    for name, content in files.items():
        (groups / name).parent.mkdir(parents=True, exist_ok=True)
        (groups / name).write_text(content)
    told = tmp_path / "membership"
    if membership is not None:
        told.write_text(membership)
    assert group_quota(groups, told) == quota


def test_cpus_are_at_least_one_and_at_most_the_machines() -> None:
    assert 1 <= available_cpus() <= (os.cpu_count() or 1)
