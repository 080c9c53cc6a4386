"""A Workspace's own token: read where a Role allows it, and else the Role that would."""

from __future__ import annotations

import base64
import json
from random import Random
from typing import Any

import pytest
from attrs import frozen
from ruamel.yaml import YAML

from kaito_controller.kube.metadata import Object
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.clock import RealClock
from kaito_controller.machinery.errors import ApiConnectionError, ApiError
from kaito_controller.sources.errors import SourceError, Trouble
from kaito_controller.sources.http import AioWeb
from kaito_controller.sources.hub import HubSettings
from kaito_controller.sources.model_reader import ModelKey, ModelReader
from kaito_controller.sources.oci.credentials import Credentials
from kaito_controller.sources.oci.reference import OciReference
from kaito_controller.sources.oci.registry import Registry
from kaito_controller.sources.resolver import Failed, Found, Pending, Resolver
from kaito_controller.sources.secret_access import ServiceAccount, TokenSecrets, permission, permission_objects
from kaito_controller.sources.web import Answer, Ask
from kaito_controller.testing.authority import Authority
from kaito_controller.testing.loopback import listening
from kaito_controller.testing.sources.checkpoints import TINY_BYTES, tiny_model
from kaito_controller.testing.sources.hub import FakeHub
from kaito_controller.testing.sources.registry import FakeRegistry

LAYER = "application/vnd.oci.image.layer.v1.tar"
TITLE = "org.opencontainers.image.title"
OPERATOR = ServiceAccount(name="kaito-controller", namespace="kaito-system")


@frozen
class OneSecret:
    """An API server with one answer."""

    answer: Object | Exception

    async def request(self, method: str, path: str, **_: Any) -> Object:
        assert (method, path) == ("GET", "/api/v1/namespaces/team/secrets/hub")
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def secrets(answer: Object | Exception) -> TokenSecrets:
    return TokenSecrets(client=Client(OneSecret(answer)), operator=OPERATOR)  # type: ignore[arg-type]


def secret_of(token: bytes, key: str = "HF_TOKEN") -> Object:
    return {"data": {key: base64.b64encode(token).decode()}}


async def refusal(answer: Object | Exception) -> SourceError:
    with pytest.raises(SourceError) as caught:
        await secrets(answer).token("team", "hub")
    return caught.value


async def test_a_token_is_read_from_its_key():
    """As kubectl create secret writes it, or with a line's end."""
    assert (await secrets(secret_of(b"hf_good\n")).token("team", "hub")).value == "hf_good"


async def test_without_a_role_the_role_to_create_is_told():
    """For that one Secret, that one verb and the operator alone."""
    error = await refusal(ApiError(403, "Forbidden", "secrets is forbidden"))
    assert error.trouble is Trouble.DENIED
    said, _, manifest = str(error).partition("\n")
    assert said == "Secret team/hub: no Role lets the operator read it. Create this one:"
    role, binding = YAML(typ="safe", pure=True).load_all(manifest)
    assert (role, binding) == permission_objects("team", "hub", OPERATOR)
    assert role["metadata"]["namespace"] == binding["metadata"]["namespace"] == "team"
    assert role["rules"] == [{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["hub"], "verbs": ["get"]}]
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "kaito-controller", "namespace": "kaito-system"}]
    assert len(str(error)) < 1024


@pytest.mark.parametrize("name", ["true", "no", "1e3", "0x1", "null", "123", "a.b", "y", "on"])
def test_the_role_s_text_keeps_names_that_yaml_takes_for_something_else(name: str):
    """A Secret may be called so."""
    objects = YAML(typ="safe", pure=True).load_all(permission(name, name, ServiceAccount(name=name, namespace=name)))
    assert tuple(objects) == permission_objects(name, name, ServiceAccount(name=name, namespace=name))


@pytest.mark.parametrize(
    ("answer", "trouble", "why"),
    [
        (ApiError(404, "NotFound"), Trouble.MISSING, "does not exist; create it with the hub's token in HF_TOKEN"),
        (ApiError(429, "TooManyRequests", retry_after_s=3), Trouble.BUSY, "answers 429"),
        (ApiConnectionError("refused"), Trouble.UNREACHABLE, "does not answer (refused)"),
        (secret_of(b"hf_secret", "token"), Trouble.MISSING, "must have a key HF_TOKEN"),
        ({}, Trouble.MISSING, "must have a key HF_TOKEN"),
        (secret_of(b"hf_secret\nX-Evil: 1"), Trouble.MALFORMED, "visible ASCII"),
        (secret_of("h\u00e9_secret".encode()), Trouble.MALFORMED, "must be a token in base64"),
        ({"data": {"HF_TOKEN": "hf_secret!"}}, Trouble.MALFORMED, "must be in base64"),
        (secret_of(b""), Trouble.MALFORMED, "visible ASCII"),
    ],
)
async def test_secrets_that_do_not_do_are_told(answer: Object | Exception, trouble: Trouble, why: str):
    """Never with what is in them."""
    error = await refusal(answer)
    assert error.trouble is trouble
    assert why in str(error)
    assert "secret" not in str(error)


async def test_what_one_namespace_s_token_opens_is_not_another_namespace_s():
    """A gated model is found with the token, and stays closed to who has none."""
    hub = FakeHub(models={"org/name": tiny_model()}, gated={"org/name"})
    async with listening(hub.answer) as url, AioWeb() as http:
        reader = ModelReader(web=http, secrets=secrets(secret_of(b"hf_good")), hub=HubSettings(endpoint=url))
        with_token = ModelKey(reference="org/name", namespace="team", secret="hub")
        without = ModelKey(reference="org/name")
        assert (await reader.read(with_token)).weight_bytes == TINY_BYTES
        with pytest.raises(SourceError, match="is gated"):
            await reader.read(without)


async def test_the_operator_reads_no_folder_of_its_own_machine():
    """A Workspace's author must not learn what is on it."""
    async with AioWeb() as http:
        reader = ModelReader(web=http, secrets=secrets({}))
        with pytest.raises(SourceError, match="reads no folder of its own machine"):
            await reader.read(ModelKey(reference="/etc"))


async def test_an_operator_may_be_told_which_registries_it_asks():
    """A Workspace's author chooses what is asked: somebody else's network, if nobody limits it."""
    async with AioWeb() as http:
        reader = ModelReader(web=http, secrets=secrets({}), allowed_registries=("ghcr.io",))
        with pytest.raises(SourceError, match=r"the operator asks ghcr\.io only; found r:5000"):
            await reader.read(ModelKey(reference="oci://r:5000/m:v"))


async def test_a_model_is_resolved_beside_the_reconcile_that_asks():
    """All parts together: pending, woken, found; and a failure with its sentence."""
    hub = FakeHub(models={"org/name": tiny_model()})
    woken: list[str] = []
    async with listening(hub.answer) as url, AioWeb() as http:
        reader = ModelReader(web=http, secrets=secrets({}), hub=HubSettings(endpoint=url))
        answers = Resolver(read=reader.read, wake=woken.append, clock=RealClock(), rng=Random(1))
        keys = [ModelKey(reference=name) for name in ("org/name", "org/absent")]
        assert [answers.lookup(key, "team/ws") for key in keys] == [Pending(), Pending()]
        while len(woken) < 2:
            await RealClock().sleep(0)
        found, lost = (answers.lookup(key, "team/ws") for key in keys)
        await answers.close()
    assert isinstance(found, Found)
    assert found.value.weight_bytes == TINY_BYTES
    assert isinstance(lost, Failed)
    assert "has no model org/absent" in lost.message


async def test_a_registrys_secret_opens_the_artifact_of_its_workspace():
    """What `docker login` wrote, in the key that pull Secrets have; the operator's own comes last."""
    config = b'{"auths": {"r.example": {"auth": "dXNlcjpwYXNz"}}}'
    found = await secrets(secret_of(config, ".dockerconfigjson")).docker_config("team", "hub")
    both = found.before(Credentials.parse(b'{"auths": {"r.example": {"auth": "b3duOng="}, "o": {"auth": "b3duOng="}}}'))

    assert (both.basic("r.example"), both.basic("o")) == ("Basic dXNlcjpwYXNz", "Basic b3duOng=")


async def test_a_secret_of_another_kind_is_told():
    """A hub's token opens no registry."""
    with pytest.raises(SourceError, match=r"must have a key \.dockerconfigjson with what docker login writes"):
        await secrets(secret_of(b"hf_good")).docker_config("team", "hub")


async def test_a_private_registry_is_trusted_by_the_certificate_in_its_secret():
    """As the agent of the pods takes it: for the registries of that Secret, and not without it."""
    authority = Authority.make()
    registry = FakeRegistry(user="user:pass")
    layers = [registry.push_blob(content, LAYER, {TITLE: name}) for name, content in tiny_model().items()]
    registry.push("v1", layers)
    async with listening(registry.answer, authority.server_context()) as url, AioWeb() as http:
        host = url.removeprefix("https://")
        docker = json.dumps({"auths": {host: {"username": "user", "password": "pass"}}}).encode()
        told = secret_of(docker, ".dockerconfigjson")
        told["data"]["ca.crt"] = base64.b64encode(authority.pem.encode()).decode()
        key = ModelKey(reference=f"oci://{host}/team/model:v1", namespace="team", pull_secrets=("hub",))
        found = await ModelReader(web=http, secrets=secrets(told)).read(key)
        assert found.weight_bytes == TINY_BYTES

        told["data"]["ca.crt"] = base64.b64encode(Authority.make("another").pem.encode()).decode()
        with pytest.raises(SourceError, match=r"not trusted here: add its authority \(.*ca\.crt in the pull Secret"):
            await ModelReader(web=http, secrets=secrets(told)).read(key)


async def test_a_login_of_the_operator_s_own_is_not_sent_to_whom_only_a_secret_vouches_for():
    """Whoever writes the Secret could stand in for the registry."""
    authority, registry = Authority.make(), FakeRegistry(user="own:own", scheme="Basic")
    async with listening(registry.answer, authority.server_context()) as url, AioWeb() as http:
        host = url.removeprefix("https://")
        own = json.dumps({"auths": {host: {"username": "own", "password": "own"}}}).encode()
        told = secret_of(json.dumps({"auths": {host: {}}}).encode(), ".dockerconfigjson")
        told["data"]["ca.crt"] = base64.b64encode(authority.pem.encode()).decode()
        reader = ModelReader(web=http, secrets=secrets(told), registries=Credentials.parse(own))
        with pytest.raises(SourceError) as caught:
            await reader.read(ModelKey(reference=f"oci://{host}/m:1", namespace="team", pull_secrets=("hub",)))
    assert caught.value.trouble is Trouble.DENIED
    assert {authorization for _, authorization, _ in registry.asked} == {""}


def test_a_login_and_a_certificate_may_be_in_two_secrets():
    """Whichever is named first."""
    login = Credentials.parse(b'{"auths": {"r.example": {"auth": "b3duOng="}}}')
    trust = Credentials.parse(b'{"auths": {"r.example": {}}}', authority="PEM")
    for both in (login.before(trust), trust.before(login)):
        assert (both.basic("r.example"), both.authority("r.example")) == ("Basic b3duOng=", "PEM")


def test_certificates_are_for_the_registries_that_the_agent_takes_them_for():
    """All of them where a Secret names none, those of a pattern, and of two Secrets both."""
    one, two, three = (
        Credentials.parse(auths, authority=text)
        for auths, text in (
            (b'{"auths": {}}', "ALL"),
            (b'{"auths": {"*.corp.example": {}}}', "CORP"),
            (b'{"auths": {"https://index.docker.io/v1/": {}}}', "HUB"),
        )
    )
    found = one.before(two).before(three)

    assert found.authority("r.example") == "ALL"
    assert found.authority("r.corp.example") == "ALL\nCORP"
    assert found.authority("r.s.corp.example") == "ALL"
    assert found.authority("docker.io") == "ALL\nHUB"


async def test_docker_s_own_registry_is_asked_where_it_is():
    """Not at the name that references have for it, also where a Secret brings certificates."""
    asked: list[Ask] = []

    class Nobody:
        async def get(self, ask: Ask) -> Answer:
            asked.append(ask)
            return Answer(status=404, headers={})

    credentials = Credentials.parse(b'{"auths": {"https://index.docker.io/v1/": {}}}', authority="PEM")
    with pytest.raises(SourceError):
        await Registry(Nobody(), OciReference.parse("docker.io/team/model:1"), credentials).manifest("1")
    assert [(one.url, one.authority) for one in asked] == [
        ("https://registry-1.docker.io/v2/team/model/manifests/1", "PEM")
    ]


async def test_a_certificate_that_is_none_is_told():
    """Before anything is asked, and without a word of what is in it."""
    told = secret_of(b'{"auths": {}}', ".dockerconfigjson")
    told["data"]["ca.crt"] = base64.b64encode(b"hush").decode()
    with pytest.raises(SourceError, match=r"Secret team/hub, ca\.crt: must be certificates in PEM") as caught:
        await secrets(told).docker_config("team", "hub")
    assert "hush" not in str(caught.value)
