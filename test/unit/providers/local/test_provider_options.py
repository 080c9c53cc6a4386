"""What is wrong with a claim or an option is said before anything is made."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from kaito_controller.api import labels as keys
from kaito_controller.api.nodeclaim import NodeClaim, NodeClaimSpec, NodeClassReference, NodeRequirement
from kaito_controller.api.reasons import Reason
from kaito_controller.catalog import loader
from kaito_controller.kube.object_meta import ObjectMeta
from kaito_controller.providers.errors import CreateError
from kaito_controller.providers.local import files
from kaito_controller.providers.local.addresses import AddressPlan
from kaito_controller.providers.local.cluster import LocalCluster
from kaito_controller.providers.local.machines import Machines
from kaito_controller.providers.local.pki import KeyPair
from kaito_controller.providers.local.provider import LocalProvider, open_provider
from kaito_controller.providers.protocol import CloudProvider
from kaito_controller.providers.registry import ProviderContext


@pytest.fixture
def provider(tmp_path: Path) -> LocalProvider:
    cluster = LocalCluster(
        name="c", server="https://127.0.0.1:1", ca=KeyPair(certificate=tmp_path, key=tmp_path), bin_dir=tmp_path,
        state_dir=tmp_path, plan=AddressPlan.of_index(0), cluster_dns="10.160.0.10",
    )  # fmt: skip
    return LocalProvider(machines=Machines(cluster=cluster), find_sku=loader.load().sku, max_nodes=1)


def claim(*types: str) -> NodeClaim:
    requirements = (NodeRequirement(key=keys.INSTANCE_TYPE, operator="In", values=types),) if types else ()
    reference = NodeClassReference(group="kaito.sh", kind="KaitoNodeClass", name="default")
    return NodeClaim(
        metadata=ObjectMeta(name="ws1", uid="u"),
        spec=NodeClaimSpec(node_class_ref=reference, requirements=requirements),
    )


@pytest.mark.parametrize(
    ("types", "said"), [((), "names no instance type"), (("Standard_NC6s_v33",), "nearest names: Standard_NC6s_v3")]
)
async def test_a_claim_without_usable_type_is_refused(provider: LocalProvider, types: tuple[str, ...], said: str):
    """The reason is stable for conditions, as other providers have it; the message tells more; nothing was made."""
    with pytest.raises(CreateError) as refused:
        await provider.create(claim(*types))
    assert (Reason.INSTANCE_TYPE_NOT_FOUND, True) == (refused.value.reason, said in refused.value.message)
    assert refused.value.remedy
    assert [] == await provider.list()


def test_it_is_a_cloud_provider(provider: LocalProvider):
    """It has every part of the contract."""
    assert isinstance(provider, CloudProvider)


@pytest.mark.parametrize(
    ("options", "said"),
    [({}, "--local-cluster: provider local needs"), ({"cluster": "/nowhere/cluster.json"}, "cannot be read")],
)
def test_a_cluster_file_is_needed(options: dict[str, str], said: str):
    """Without a usable cluster file the operator does not start, and says which flag to give."""
    given = cast("ProviderContext", type("Options", (), {"options": options, "catalog": loader.load()}))
    with pytest.raises(ValueError, match=said):
        open_provider(given)


@pytest.mark.parametrize(("given", "expected"), [("", 4), ("2", 2), ("0", 0)])
def test_the_flag_wins_over_the_cluster(tmp_path: Path, given: str, expected: int):
    """--local-max-nodes bounds the provider; without it the cluster's own bound holds."""
    assert expected == open_provider(context(tmp_path, given)).max_nodes


@pytest.mark.parametrize("given", ["-1", "many", "1.5"])
def test_a_bound_that_is_no_number_is_refused(tmp_path: Path, given: str):
    """The message names the flag, the rule and what was found."""
    with pytest.raises(ValueError, match=f"--local-max-nodes: must be a whole number .* found '{given}'"):
        open_provider(context(tmp_path, given))


def context(folder: Path, max_nodes: str) -> ProviderContext:
    document = {
        "name": "c", "server": "https://127.0.0.1:7443", "ca_cert": "/ca.crt", "ca_key": "/ca.key", "bin_dir": "/bin",
        "state_dir": str(folder), "cluster_dns": "10.160.0.10", "cluster_domain": "cluster.local", "images": [],
        "max_nodes": 4, **AddressPlan.of_index(0).document(),
    }  # fmt: skip
    path = files.write_json(folder / "cluster.json", document)
    options = {"cluster": str(path), "max-nodes": max_nodes}
    return cast("ProviderContext", type("Options", (), {"options": options, "catalog": loader.load()}))
