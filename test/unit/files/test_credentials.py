"""Secrets of registries are read as data, and nothing of them is told."""

from __future__ import annotations

import base64
import json
import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_server.files.errors import FetchError, Kind
from inference_server.files.oci.credentials import Credentials, Login
from inference_server.files.oci.reference import Reference
from kaito_controller.testing.authority import Authority


def pair(text: str) -> dict[str, str]:
    return {"auth": base64.b64encode(text.encode()).decode()}


def mounted(folder: Path, content: object, certificate: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    text = content if isinstance(content, str) else json.dumps({"auths": content})
    (folder / ".dockerconfigjson").write_text(text)
    if certificate:
        (folder / "ca.crt").write_text(certificate)
    return folder


def logins(folder: Path, auths: object, reference: str) -> list[tuple[str, str]]:
    found = Credentials.of_folders([mounted(folder, auths)]).logins(Reference.parse(reference))
    return [(login.username, login.password) for login in found]


def test_a_registry_is_found_by_each_way_docker_writes_it(tmp_path):
    for key in ("r.example", "https://r.example", "https://r.example/v1/", "http://r.example/v2/", "r.example/"):
        assert logins(tmp_path / "s", {key: pair("me:p:w")}, "r.example/x") == [("me", "p:w")]
    for key in ("https://index.docker.io/v1/", "docker.io", "registry-1.docker.io"):
        assert logins(tmp_path / "s", {key: pair("me:pw")}, "busybox") == [("me", "pw")]
    assert logins(tmp_path / "s", {"r.example": pair("me:pw")}, "r.example:5000/x") == []


def test_the_longest_path_wins_and_a_path_ends_at_a_slash(tmp_path):
    auths = {"r.example": pair("all:1"), "r.example/team": pair("team:2"), "r.example/team/x": pair("x:3")}
    assert logins(tmp_path / "s", auths, "r.example/team/x") == [("x", "3"), ("team", "2"), ("all", "1")]
    assert logins(tmp_path / "s", auths, "r.example/teams/x") == [("all", "1")]


def test_a_star_stands_for_a_label_as_the_kubelet_reads_it(tmp_path):
    auths = {"*.example": pair("me:pw")}
    assert logins(tmp_path / "s", auths, "r.example/x") == [("me", "pw")]
    assert logins(tmp_path / "s", auths, "R.Example/x") == [("me", "pw")]
    for other in ("a.r.example/x", "r.example:5000/x", "r.other/x"):
        assert logins(tmp_path / "s", auths, other) == []


def test_the_earlier_secret_comes_first(tmp_path):
    folders = [mounted(tmp_path / name, {"r.example": pair(f"{name}:1")}) for name in ("b", "a")]
    found = Credentials.of_folders(folders).logins(Reference.parse("r.example/x"))
    assert [login.username for login in found] == ["b", "a"]


def test_tokens_are_told_from_passwords(tmp_path):
    auths = {"r.example": {**pair("<token>:refresh")}}
    folder = mounted(tmp_path / "s", auths)
    assert Credentials.of_folders([folder]).logins(Reference.parse("r.example/x")) == (Login(identity_token="refresh"),)


def test_no_credential_helper_is_run(tmp_path):
    proof = tmp_path / "ran"
    helper = tmp_path / "docker-credential-evil"
    helper.write_text(f"#!/bin/sh\ntouch {proof}\n")
    helper.chmod(0o755)
    text = json.dumps({"credsStore": str(helper), "credHelpers": {"r.example": "evil"}, "auths": {"r.example": {}}})
    assert Credentials.of_folders([mounted(tmp_path / "s", text)]).logins(Reference.parse("r.example/x")) == ()
    assert not proof.exists()


def test_a_certificate_is_trusted_for_the_registries_of_its_secret_alone(tmp_path):
    one, other = Authority.make("one").pem, Authority.make("other").pem
    folders = [
        mounted(tmp_path / "a", {"r.example": pair("me:pw")}, one),
        mounted(tmp_path / "b", {"s.example": pair("me:pw")}, other),
    ]
    credentials = Credentials.of_folders(folders)
    assert credentials.authorities(Reference.parse("r.example/x")) == one
    assert credentials.authorities(Reference.parse("s.example/x")) == other
    assert credentials.authorities(Reference.parse("t.example/x")) == ""


def test_a_certificate_that_is_none_is_refused(tmp_path):
    with pytest.raises(FetchError) as caught:
        Credentials.of_folders([mounted(tmp_path / "s", {}, "sesame")])
    assert caught.value.kind is Kind.INVALID
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["", "sesame", '{"auths": "sesame"}', '{"auths": {"sesame": "x"}}', "[]", "[" * 100_000,
     '{"auths": {"r": {"auth": "sesame!"}}}', '{"auths": {"r": {"auth": "c2VzYW1l"}}}', " " * (2**20 + 1)],
)  # fmt: skip
def test_a_broken_secret_is_named_and_nothing_of_it_is_told(tmp_path, text):
    with pytest.raises(FetchError) as caught:
        Credentials.of_folders([mounted(tmp_path / "pull-secret", text)])
    assert caught.value.kind is Kind.INVALID
    assert "pull-secret" in str(caught.value)
    assert "sesame" not in str(caught.value)


def test_a_secret_that_is_not_mounted_is_named(tmp_path):
    with pytest.raises(FetchError) as caught:
        Credentials.of_folders([tmp_path / "gone"])
    assert "gone" in str(caught.value)


def test_nothing_secret_is_in_what_is_printed(tmp_path, caplog):
    auths = {"r.example": {**pair("me:sesame"), "identitytoken": "sesame", "registrytoken": "sesame"}}
    credentials = Credentials.of_folders([mounted(tmp_path / "s", auths)])
    with caplog.at_level(logging.DEBUG):
        logging.getLogger().info("%r", credentials)
    assert "r.example" in caplog.text
    assert "sesame" not in caplog.text


@given(
    st.recursive(
        st.none() | st.text(max_size=8) | st.integers(),
        lambda inner: st.dictionaries(
            st.sampled_from(["auths", "auth", "r.example", "username", "password", "identitytoken", "", "https://"]),
            inner,
            max_size=4,
        ),
    )
)
def test_any_document_is_read_or_refused(tmp_path_factory, document):
    folder = mounted(tmp_path_factory.getbasetemp() / "any", json.dumps(document))
    try:
        Credentials.of_folders([folder]).logins(Reference.parse("r.example/x"))
    except FetchError as error:
        assert error.kind is Kind.INVALID  # noqa: PT017
