"""The URIs of models."""

from __future__ import annotations

import pytest

from inference_server import contract
from inference_server.files.errors import FetchError, Kind
from inference_server.weights.source import Scheme, Source

DIGEST = f"sha256:{'a' * 64}"


@pytest.mark.parametrize(
    ("text", "scheme", "reference", "pinned"),
    [
        ("hf://microsoft/phi-4", Scheme.HUB, "microsoft/phi-4", False),
        ("hf://microsoft/phi-4@main", Scheme.HUB, "microsoft/phi-4@main", False),
        (f"hf://microsoft/phi-4@{'0' * 40}", Scheme.HUB, f"microsoft/phi-4@{'0' * 40}", True),
        ("oci://r.example/team/phi:1", Scheme.REGISTRY, "r.example/team/phi:1", False),
        ("oci://r.example/team/phi", Scheme.REGISTRY, "r.example/team/phi:latest", False),
        (f"oci://r.example:5000/phi:1@{DIGEST}", Scheme.REGISTRY, f"r.example:5000/phi:1@{DIGEST}", True),
    ],
)
def test_sources(text: str, scheme: Scheme, reference: str, pinned: bool):
    """What each names, and whether it names the same for ever."""
    source = Source.parse(text)

    assert (source.scheme, source.reference, source.is_pinned) == (scheme, reference, pinned)
    assert Source.parse(str(source)) == source


@pytest.mark.parametrize(
    "text",
    ["", "phi-4", "hf://phi-4", "hf://a/b/c", "hf://a/../b", "hf://a/b@", "hf://a/b@../c", "oci://", "http://a/b"],
)
def test_no_sources(text: str):
    """Refused with what may be written instead."""
    with pytest.raises(FetchError) as caught:
        Source.parse(text)
    assert caught.value.kind is Kind.INVALID


def test_folder_names_are_readable_safe_and_apart():
    """No source can name another's folder or one outside."""
    names = [
        contract.weights_folder_name(uri)
        for uri in ("hf://a/b", "oci://a/b", "hf://a-b", "oci://r.example:5000/../../x:1", f"oci://r/{'n' * 300}")
    ]

    assert names[0].startswith("a-b-")
    assert len(set(names)) == len(names)
    assert all("/" not in name and not name.startswith(".") and len(name) < 128 for name in names)
