"""The first process of a node: started in namespaces of its own, it is the node, and the node ends with it.

It is run as `python -m kaito_controller.providers.local.init FOLDER` by `machines.start`, and speaks with it over its
standard streams, one line each:

1. it says who it is on this machine (`{"pid": …, "started": …}`), and waits until its network link is there: "go";
2. it says "up" when its mounts and network stand and containerd was started, or `{"error": …}`, and lets go of the
   streams: from then on nothing ties it to who started it.

If who started it dies before "go", it ends. It then starts the node's programs, starts again what ends, and buries
orphans, until SIGTERM or SIGKILL.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

from kaito_controller.providers.local import cgroups, host_network, image_import, mounts, programs
from kaito_controller.providers.local.emulated_devices import EmulatedDevices
from kaito_controller.providers.local.layout import CONFIG, CONTAINERD_SOCKET, INSIDE, LOGS, START
from kaito_controller.providers.local.processes import ProcessId
from kaito_controller.providers.local.supervisor import Supervisor
from kaito_controller.providers.local.syscalls import CLONE_NEWCGROUP, unshare

_RUNTIME_TIMEOUT_S = 60.0


def main(arguments: list[str]) -> int:
    """Be the node whose folder is the one argument."""
    folder = Path(arguments[0])
    start: dict[str, Any] = json.loads((folder / CONFIG / START).read_text())
    # /proc is still the host's, so this is who we are out there.
    identity = ProcessId.of(int(Path("/proc/self").readlink().name))
    if identity is None:
        return 1
    _say(json.dumps({"pid": identity.pid, "started": identity.started}))
    if sys.stdin.readline() != "go\n":
        return 1
    try:
        _settle(folder, start)
    except (OSError, host_network.NetworkProblem) as error:
        _say(json.dumps({"error": str(error)}))
        return 1
    supervisor = Supervisor(logs=INSIDE / LOGS)
    supervisor.start("containerd", start["programs"]["containerd"])
    _let_go(INSIDE / LOGS / "init.log")
    _await_socket(CONTAINERD_SOCKET, supervisor)
    _load_images(start["images"])
    supervisor.start("kubelet", start["programs"]["kubelet"])
    supervisor.start("kube-proxy", start["programs"]["kube-proxy"])
    if start["devices"]:
        kept = {"node": start["node"], "server": start["server"], "config": INSIDE / CONFIG}
        EmulatedDevices(counts=start["devices"], **kept).begin()
    supervisor.run()
    return 0


def _settle(folder: Path, start: dict[str, Any]) -> None:
    cgroups.join(start["group"], start["node"])
    unshare(CLONE_NEWCGROUP)
    mounts.prepare(folder)
    cgroups.enter_daemons()
    (INSIDE / LOGS).mkdir(exist_ok=True)
    socket.sethostname(start["node"])
    _network(start)
    # Who started us may live under a shell's modest limit of open files, which a node's programs would inherit.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    os.environ.clear()
    os.environ.update({"PATH": programs.PATH, "HOME": "/root", "LANG": "C.UTF-8"})


def _network(start: dict[str, Any]) -> None:
    lines = ["link set lo up", f"address add {start['address']} dev eth0", "link set eth0 up"]
    lines.append(f"route add default via {start['gateway']} dev eth0")
    lines += [f"route add {pods} via {peer} dev eth0" for pods, peer in start["peers"].items()]
    host_network.ip(["-batch", "-"], lines="\n".join(lines) + "\n")
    settings = Path("/proc/sys/net/ipv4")
    (settings / "ip_forward").write_text("1")
    # What comes for a Service may leave by another way than an answer to its sender would.
    for name in ("all", "default", "eth0"):
        (settings / "conf" / name / "rp_filter").write_text("0")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _let_go(log: Path) -> None:
    # Who started us has noted who we are: should it be gone by now, we go on.
    with contextlib.suppress(BrokenPipeError):
        _say("up")
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.dup2(target, 1)
    os.dup2(target, 2)
    os.close(target)
    os.close(empty)


def _await_socket(path: str, supervisor: Supervisor) -> None:
    deadline = time.monotonic() + _RUNTIME_TIMEOUT_S
    while time.monotonic() < deadline:
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(path)
            except OSError:
                supervisor.step(0.05)
            else:
                return
    _say(f"containerd has not answered on {path} for {_RUNTIME_TIMEOUT_S:g} s; see containerd.log")


def _load_images(archives: list[str]) -> None:
    for archive in archives:
        try:
            image_import.load(Path(archive))
        except image_import.ImageProblem as error:
            _say(str(error))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(main(sys.argv[1:]))
