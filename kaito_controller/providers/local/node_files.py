"""The configuration of a node's programs, written into the machine's folder before it starts.

Inside the node that folder is mounted at `/run/node`, so the files name each other by paths there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kaito_controller.providers.local import files, pki, programs
from kaito_controller.providers.local.addresses import NodeAddresses
from kaito_controller.providers.local.cluster import LocalCluster
from kaito_controller.providers.local.layout import CONFIG, CONTAINERD_SOCKET, INSIDE, START
from kaito_controller.providers.local.machine_spec import MachineSpec, kubelet_may_set

MAX_PODS = 32


def write(cluster: LocalCluster, spec: MachineSpec, folder: Path) -> None:
    """Write keys, kubeconfigs and the configuration of containerd, CNI, kubelet and kube-proxy of one node."""
    config = folder / CONFIG
    addresses = cluster.plan.node(spec.number)
    files.write(config / "ca.crt", cluster.ca.certificate.read_bytes())
    pki.issue_server(
        cluster.ca,
        config,
        "kubelet-serving",
        common_name=f"system:node:{spec.name}",
        organizations=["system:nodes"],
        names=[spec.name, str(addresses.address), "127.0.0.1"],
    )
    kubelet = f"system:node:{spec.name}"
    client = pki.issue_client(cluster.ca, config, "kubelet", common_name=kubelet, organizations=["system:nodes"])
    _kubeconfig(cluster, config / "kubelet.kubeconfig", client, kubelet)
    proxy = pki.issue_client(cluster.ca, config, "kube-proxy", common_name="system:kube-proxy")
    _kubeconfig(cluster, config / "kube-proxy.kubeconfig", proxy, "system:kube-proxy")
    # Pods with dnsPolicy Default (CoreDNS is one) read this: no way leads out of the machine, so no server is named.
    files.write(config / "resolv.conf", b"options timeout:1 attempts:1\n", mode=files.READABLE)
    files.write_json(config / "kubelet.json", kubelet_configuration(cluster, spec, addresses))
    files.write_json(config / "kube-proxy.json", proxy_configuration(cluster, spec))
    files.write_json(config / "cni" / "10-kaito.conflist", cni_configuration(addresses))
    files.write(config / "containerd.toml", containerd_configuration(cluster).encode())
    start = {
        "node": spec.name,
        "group": cluster.group,
        "address": f"{addresses.address}/{cluster.plan.node_cidr.prefixlen}",
        "gateway": str(cluster.plan.host_address),
        "peers": {str(n.pod_cidr): str(n.address) for n in cluster.plan.nodes() if n.number != spec.number},
        "images": [*map(str, cluster.images), *spec.images],
        "server": cluster.server_from_nodes,
        "devices": dict(spec.devices),
        "programs": commands(cluster, spec, addresses),
    }
    files.write_json(config / START, start)


def commands(cluster: LocalCluster, spec: MachineSpec, addresses: NodeAddresses) -> dict[str, list[str]]:
    """Return the command line of each program, in the order of their start."""
    inside = INSIDE / CONFIG
    labels = ",".join(f"{key}={value}" for key, value in sorted(spec.labels.items()) if kubelet_may_set(key))
    return {
        "containerd": ["containerd", "--config", f"{inside}/containerd.toml"],
        "kubelet": [
            str(cluster.bin_dir / "kubelet"),
            f"--config={inside}/kubelet.json",
            f"--kubeconfig={inside}/kubelet.kubeconfig",
            f"--hostname-override={spec.name}",
            f"--node-ip={addresses.address}",
            f"--node-labels={labels}",
            "--root-dir=/var/lib/kubelet",
            "--v=2",
        ],
        "kube-proxy": [str(cluster.bin_dir / "kube-proxy"), f"--config={inside}/kube-proxy.json", "--v=1"],
    }


def kubelet_configuration(cluster: LocalCluster, spec: MachineSpec, addresses: NodeAddresses) -> dict[str, Any]:
    """The kubelet's own document (kubelet.config.k8s.io/v1beta1)."""
    inside = INSIDE / CONFIG
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": str(addresses.address),
        "port": 10250,
        "readOnlyPort": 0,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{inside}/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{inside}/kubelet-serving.crt",
        "tlsPrivateKeyFile": f"{inside}/kubelet-serving.key",
        "clusterDNS": [cluster.cluster_dns],
        "clusterDomain": cluster.cluster_domain,
        "resolvConf": f"{inside}/resolv.conf",
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "cgroupsPerQOS": False,
        "enforceNodeAllocatable": [],
        "failSwapOn": False,
        # The kubelet wants some sysctls of the whole machine to have its values. It sees them so (see mounts.py) and
        # must not try to write them.
        "protectKernelDefaults": True,
        "providerID": spec.provider_id,
        "registerNode": True,
        "registerWithTaints": [{"key": t.key, "value": t.value, "effect": t.effect} for t in spec.taints],
        "maxPods": MAX_PODS,
        "nodeStatusUpdateFrequency": "4s",
        "serializeImagePulls": False,
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": {
            "memory.available": "64Mi",
            "nodefs.available": "1%",
            "nodefs.inodesFree": "1%",
            "imagefs.available": "1%",
            "imagefs.inodesFree": "1%",
        },
        "volumePluginDir": "/var/lib/kubelet/volumeplugins",
    }


def proxy_configuration(cluster: LocalCluster, spec: MachineSpec) -> dict[str, Any]:
    """kube-proxy's document; what does not come from a pod (the host) is masqueraded, so that answers come back."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(INSIDE / CONFIG / "kube-proxy.kubeconfig")},
        "hostnameOverride": spec.name,
        "mode": "iptables",
        "clusterCIDR": str(cluster.plan.pod_cidr),
        "detectLocalMode": "ClusterCIDR",
        # The limits of connection tracking belong to the whole machine: zero leaves them alone.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "metricsBindAddress": "127.0.0.1:10249",
        "nodePortAddresses": ["primary"],
    }


def cni_configuration(addresses: NodeAddresses) -> dict[str, Any]:
    """The pod network: a routed link per pod.

    The plugin is ptp and not bridge because packets between two pods of one node then pass the node's routing, where
    kube-proxy's address translation is undone; through a bridge they would do so only with br_netfilter, a setting of
    the whole machine that a node must not depend on or change.
    """
    ipam = {
        "type": "host-local",
        "ranges": [[{"subnet": str(addresses.pod_cidr)}]],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dataDir": "/run/cni/ipam",
    }
    plugins: list[dict[str, Any]] = [
        {"type": "ptp", "mtu": 1500, "ipam": ipam},
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ]
    return {"cniVersion": "0.4.0", "name": "kaito", "plugins": plugins}


def containerd_configuration(cluster: LocalCluster) -> str:
    """The document of containerd (version 2). What it is told of registries it reads at every pull."""
    plugins = programs.cni_folder() or programs.CNI_FOLDERS[0]
    return f"""version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.opt"]

[grpc]
  address = "{CONTAINERD_SOCKET}"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "kaito.local/pause:1"
  # A process that may not lower its own out-of-memory score cannot start a sandbox that asks for a lower one.
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = "{INSIDE}/{CONFIG}/cni"
    max_conf_num = 1
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{cluster.registries_folder}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
"""


def _kubeconfig(cluster: LocalCluster, path: Path, client: pki.KeyPair, user: str) -> None:
    pki.write_kubeconfig(
        path,
        server=cluster.server_from_nodes,
        ca_certificate=cluster.ca.certificate,
        client=client,
        cluster=cluster.name,
        user=user,
    )
