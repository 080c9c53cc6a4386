"""A Workspace's token under real rights: the Role that the refusal prints is the one that helps."""

from __future__ import annotations

from pathlib import Path

import pytest

from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.transport import AioTransport
from kaito_controller.sources.errors import SourceError, Trouble
from kaito_controller.sources.secret_access import ServiceAccount, TokenSecrets
from kaito_controller.testing.apiserver import APIServer

TRIES = 50
"""The API server's own cache of Roles learns of a new one within some milliseconds."""


async def refusal(secrets: TokenSecrets, namespace: str, name: str) -> SourceError:
    with pytest.raises(SourceError) as caught:
        await secrets.token(namespace, name)
    return caught.value


async def test_the_role_that_is_printed_opens_one_secret_and_no_other(
    apiserver: APIServer, namespace: str, tmp_path: Path
):
    """What the operator may not read at first it may read once its own words were applied."""
    operator = ServiceAccount(name="operator", namespace=namespace)
    apiserver.kubectl("create", "serviceaccount", operator.name, "--namespace", namespace)
    for name in ("hub", "other"):
        literal = "--from-literal=HF_TOKEN=hf_good"
        apiserver.kubectl("create", "secret", "generic", name, literal, "--namespace", namespace)
    async with AioTransport(kubeconfig=apiserver.kubeconfig_of(operator.name, namespace, tmp_path)) as transport:
        secrets = TokenSecrets(client=Client(transport), operator=operator)
        error = await refusal(secrets, namespace, "hub")
        assert error.trouble is Trouble.DENIED
        apiserver.kubectl("apply", "--filename=-", stdin=str(error).partition("\n")[2])
        for _ in range(TRIES):
            try:
                token = await secrets.token(namespace, "hub")
                break
            except SourceError as still:
                assert still.trouble is Trouble.DENIED  # noqa: PT017 - until its cache has the Role
        assert token.value == "hf_good"
        assert (await refusal(secrets, namespace, "other")).trouble is Trouble.DENIED
