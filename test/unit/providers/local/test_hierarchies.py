"""The control group hierarchies of a machine are read from its mount table, whatever their layout."""

from __future__ import annotations

from pathlib import Path

from kaito_controller.providers.local.cgroups import hierarchies

HYBRID = """\
tmpfs /sys/fs/cgroup tmpfs rw,relatime,mode=755 0 0
cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,nosuid,nodev,noexec,relatime,cpu,cpuacct 0 0
cgroup /sys/fs/cgroup/cpuset cgroup rw,relatime,cpuset,clone_children 0 0
cgroup /sys/fs/cgroup/systemd cgroup rw,relatime,xattr,release_agent=/lib/agent,name=systemd 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime,nsdelegate 0 0
"""
UNIFIED = "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid,nodev,noexec,relatime,nsdelegate 0 0\n"


def test_version_1_hierarchies_say_what_mounts_them_again(tmp_path: Path):
    """Controllers and names are told from the general options of the mount."""
    (tmp_path / "mounts").write_text(HYBRID)
    found = {h.folder.name: (h.kind, h.controllers) for h in hierarchies(tmp_path / "mounts") if h.kind == "cgroup"}
    assert {
        "cpu,cpuacct": ("cgroup", "cpu,cpuacct"),
        "cpuset": ("cgroup", "cpuset"),
        "systemd": ("cgroup", "none,name=systemd"),
    } == found


def test_a_single_hierarchy_is_version_2(tmp_path: Path):
    """Where there is only version 2, that is the one."""
    (tmp_path / "mounts").write_text(UNIFIED)
    assert [("cgroup2", Path("/sys/fs/cgroup"))] == [(h.kind, h.folder) for h in hierarchies(tmp_path / "mounts")]
