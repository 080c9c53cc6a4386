"""References of images mean what they mean to docker and containerd."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_server.files.errors import FetchError, Kind
from inference_server.files.oci.reference import Reference

DIGEST = "sha256:" + "0a" * 32


@pytest.mark.parametrize(
    ("text", "full", "host"),
    [
        ("busybox", "docker.io/library/busybox:latest", "registry-1.docker.io"),
        ("me/data:v1", "docker.io/me/data:v1", "registry-1.docker.io"),
        ("docker.io/busybox", "docker.io/library/busybox:latest", "registry-1.docker.io"),
        ("index.docker.io/me/x", "docker.io/me/x:latest", "registry-1.docker.io"),
        ("localhost/x", "localhost/x:latest", "localhost"),
        ("localhost:5000/x", "localhost:5000/x:latest", "localhost:5000"),
        ("r.example:5000/a/b__c:T.1", "r.example:5000/a/b__c:T.1", "r.example:5000"),
        ("[::1]:5000/x", "[::1]:5000/x:latest", "[::1]:5000"),
        (f"r.example/x@{DIGEST}", f"r.example/x@{DIGEST}", "r.example"),
        (f"r.example/x:v1@{DIGEST}", f"r.example/x:v1@{DIGEST}", "r.example"),
        ("Example.COM/x", "Example.COM/x:latest", "Example.COM"),
    ],
)
def test_a_reference_is_completed(text, full, host):
    found = Reference.parse(text)
    assert (str(found), found.host) == (full, host)


@pytest.mark.parametrize(
    "text",
    [
        "", ":", "@", "x:", "x@", "UPPER", "r.example/UPPER", "r.example/", "/x", "x//y", "a/../b", "r.example/..",
        "r.example:99999/x", "r.example:0/x", "r.example:port/x", "x:" + "t" * 129, "x@sha256:00",
        "x@sha512:" + "0" * 128,
        "http://r.example/x", "oci://r.example/x", "r.example/x y", "r.example/x\n", "me:pw@r.example/x",
        "r.example/" + "a" * 300,
        "x?y=z", "x#y", "r.example\\x", "-x.example/y", "r.example/x:ü",
    ],
)  # fmt: skip
def test_what_is_no_reference_is_refused_with_a_remedy(text):
    with pytest.raises(FetchError) as caught:
        Reference.parse(text)
    assert caught.value.kind is Kind.INVALID
    assert not caught.value.retryable
    assert "registry/repository" in str(caught.value)


@given(st.text(alphabet="abZ019._-:/@[]%\\\n ü", max_size=40) | st.text(max_size=40))
def test_any_text_is_a_reference_that_reads_back_or_an_error_of_ours(text):
    try:
        found = Reference.parse(text)
    except FetchError as error:
        assert error.kind is Kind.INVALID  # noqa: PT017
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert Reference.parse(str(found)) == found
        assert not set(found.repository) & set("@:?#%\\ \n")
        assert ".." not in found.repository.split("/")
