"""What users write, and what is imported for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kaito_controller.sources.errors import SourceError
from kaito_controller.sources.hub import HubId
from kaito_controller.sources.oci.reference import OciReference
from kaito_controller.sources.reference import ModelReference, parse_reference


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("org/name", HubId(name="org/name")),
        ("org/name@v1", HubId(name="org/name", revision="v1")),
        ("./org/name", Path("./org/name")),
        ("../x", Path("../x")),
        ("/models/x", Path("/models/x")),
        ("~/x", Path("~/x")),
        (".", Path()),
        ("oci://r/m:v", OciReference(registry="r", repository="m", tag="v")),
    ],
)
def test_the_beginning_says_what_is_meant(text: str, reference: ModelReference):
    """A path, oci://, or a hub's id."""
    assert parse_reference(text) == reference


def test_what_is_none_of_them_is_told_with_all_three():
    """A name alone is a preset's, or a mistake."""
    with pytest.raises(SourceError, match=r"ORG/NAME.*\./FOLDER.*oci://REGISTRY"):
        parse_reference("name")


def test_references_are_read_without_importing_an_http_client():
    """It takes longer to import than a plan takes."""
    program = "import sys, kaito_controller.sources.model_reader; sys.exit('aiohttp' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
