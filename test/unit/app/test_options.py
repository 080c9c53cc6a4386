"""The flags of `kaito-controller run`."""

from __future__ import annotations

from pathlib import Path

import pytest

from kaito_controller.app.controllers import CONTROLLERS
from kaito_controller.app.options import CONTROLLER_NAMES, Address, NodeProvisioner, Options, OptionsError, parse


def test_no_flags_are_a_workspace_controller_of_an_unknown_cloud():
    """Without a provider, NodeClaims are left to whoever provisions nodes in the cluster."""
    assert Options() == parse([])


def test_upstreams_flags_are_understood():
    """A command line written for upstream starts this operator."""
    found = parse(
        [
            "--node-provisioner=azure-gpu-provisioner",
            "--leader-elect",
            "--metrics-bind-address=:9090",
            "--health-probe-bind-address=127.0.0.1:9091",
            "--kube-client-qps=30",
            "--kube-client-burst=50",
            "--feature-gates=vLLM=true,enableMIG=false,enableInferenceSetController=true",
            "--default-node-image-family=AzureLinux",
        ]
    )
    assert NodeProvisioner.NODE_CLAIM is found.node_provisioner
    assert (True, Address("", 9090), Address("127.0.0.1", 9091)) == (found.leader_elect, found.metrics, found.health)
    assert (30.0, 50, "azurelinux") == (found.kube_client_qps, found.kube_client_burst, found.node_image_family)


def test_what_is_not_there_may_be_turned_off():
    """There is no InferenceSet controller yet, so turning it off asks for nothing."""
    assert {"enableInferenceSetController": False} == parse(
        ["--feature-gates=enableInferenceSetController=false"]
    ).feature_gates


def test_a_provider_brings_the_node_provisioner():
    """With a cloud named, both controllers run, and the provider gets its own flags."""
    found = parse(["--provider", "local", "--local-cluster", "/c.json", "--local-max-nodes", "2"])
    assert CONTROLLER_NAMES == found.controllers
    assert {"cluster": "/c.json", "max-nodes": "2"} == found.provider_options
    assert Path("/c.json") == found.local_cluster


def test_runtime_parameters_are_pairs():
    """A value may hold an equals sign."""
    found = parse(["--runtime-parameter", "image=a/b@sha256:c", "--runtime-parameter=x=y=z"])
    assert {"image": "a/b@sha256:c", "x": "y=z"} == found.runtime_parameters


def test_private_networks_are_given_one_by_one():
    """Each in its own spelling, each once."""
    networks = ("10.0.0.0/8", "fd00::/8", "10.0.0.0/8")
    found = parse([f"--allow-private-urls={network}" for network in networks])
    assert ("10.0.0.0/8", "fd00::/8") == found.private_urls


def test_an_address_can_be_turned_off():
    """0 means no server, as in controller-runtime."""
    assert not parse(["--metrics-bind-address", "0"]).metrics.enabled
    assert Address("::1", 80) == parse(["--metrics-bind-address", "[::1]:80"]).metrics


def test_metrics_are_secured_by_kubebuilders_flags():
    """Plain by default; a folder of one's own certificate, with the file names that cert-manager writes."""
    plain, secure = parse([]), parse(["--metrics-secure"])
    assert (plain.metrics_secure, secure.metrics_secure, secure.metrics_certificate) == (False, True, None)
    found = parse(["--metrics-secure=true", "--metrics-cert-path=/certs", "--metrics-cert-key", "my.key"])
    assert (found.metrics_certificate, found.metrics_key) == (Path("/certs/tls.crt"), Path("/certs/my.key"))


def test_the_gate_of_upstream_is_the_byo_provisioner():
    """Gate disableNodeAutoProvisioning is not silently ignored."""
    found = parse(["--feature-gates", "disableNodeAutoProvisioning=true"])
    assert NodeProvisioner.BYO is found.node_provisioner


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--node-provisioner", "karpenter"], "comes in a later version"),
        (["--node-provisioner", "nodeclaims"], "did you mean 'nodeclaim'?"),
        (["--controllers", "workspce"], "did you mean 'workspace'?"),
        (["--controllers", ","], "names no controller"),
        (["--controllers", "nodeclaim"], "needs a cloud"),
        (["--provider", "lokal"], "did you mean 'local'?"),
        (["--provider", "local"], "needs --local-cluster"),
        (["--local-cluster", "x"], "only --provider local reads it"),
        (["--feature-gates", "vLLM=maybe"], "wants true or false"),
        (["--feature-gates", "vLLM"], "wants KEY=VALUE"),
        (["--feature-gates", "noSuchGate=true"], "there is no 'noSuchGate'"),
        (["--feature-gates", "enableMIG=true"], "not implemented yet"),
        (["--feature-gates", "vLLM=false"], "not implemented yet"),
        (
            ["--feature-gates", "disableNodeAutoProvisioning=true", "--node-provisioner", "nodeclaim"],
            "contradicts --node-provisioner nodeclaim",
        ),
        (["--metrics-bind-address", "8080"], "wants HOST:PORT"),
        (["--metrics-bind-address", ":99999"], "wants HOST:PORT"),
        (["--metrics-secure=perhaps"], "wants true or false"),
        (["--metrics-cert-path", "/certs"], "add --metrics-secure"),
        (["--kube-client-qps", "-1"], "must not be below 0"),
        (["--kube-client-qps", "fast"], "invalid float value"),
        (["--allow-private-urls", "10.0.0.1/8"], "wants a network such as 10.0.0.0/8, found '10.0.0.1/8'"),
        (["--allow-private-urls", "lan"], "--allow-private-urls: wants a network"),
        (["--default-node-image-family", "debian"], "choose from ubuntu, azurelinux"),
        (["--log-format", "jsn"], "did you mean 'json'?"),
        (["--leader-election"], "unrecognized arguments"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(flags, said):
    """Each refusal names the flag, what was found and what to do."""
    with pytest.raises(OptionsError) as refused:
        parse(flags)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_every_controller_can_be_named():
    """The names of the flag are those of the list."""
    assert CONTROLLER_NAMES == tuple(CONTROLLERS)
