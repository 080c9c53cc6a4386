"""hack/cluster as tests run it: as a person does, with a state folder of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from attrs import frozen

from kaito_controller.providers.local.cluster import group_name
from kaito_controller.testing.processes import marked
from local_cluster.folders import REPOSITORY


@frozen(kw_only=True)
class ClusterTool:
    """hack/cluster with a state folder of its own."""

    state: Path
    environment: Mapping[str, str]

    def __call__(self, *arguments: str, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        """Run it to its end, whatever that is."""
        with self.start(*arguments) as process:
            out, err = process.communicate(timeout=timeout_s)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start it and return at once."""
        command = [str(REPOSITORY / "hack" / "cluster"), *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=dict(self.environment))

    def ok(self, *arguments: str) -> str:
        """Run it, see that it succeeds, and return what it printed."""
        done = self(*arguments)
        if done.returncode:
            raise AssertionError(f"hack/cluster {' '.join(arguments)} failed: {done.stderr}")
        return done.stdout

    def folder(self, name: str) -> Path:
        """The state folder of one cluster."""
        return self.state / "clusters" / name

    def traces(self, name: str) -> list[str]:
        """Everything on this machine that belongs to one cluster: processes, mounts, links, cgroups, files."""
        folder = str(self.folder(name))
        found = [f"process {process.pid}" for process in marked(folder)]
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                command = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue  # it ended between the listing and the read
            if folder in command:
                found.append(f"process {entry.parent.name}: {command}")
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        found += [f"mount {line}" for line in mounts if folder in line]
        if shutil.which("ip"):
            links = json.loads(subprocess.check_output(["ip", "-json", "link", "show"]))
            found += [f"link {link['ifname']}" for link in links if folder in link.get("ifalias", "")]
        found += [f"cgroup {path}" for path in Path("/sys/fs/cgroup").glob(f"**/kaito/{group_name(self.folder(name))}")]
        found += [f"file {path}" for path in self.state.rglob("*") if str(path).startswith(folder)]
        return found
