"""The bill of materials of an image, in CycloneDX 1.6: `python -m image_builder.sbom NAME CHECKOUT FILE` in the image.

It is read from what is installed (the metadata of Python packages, dpkg's records), not from what was asked for; that
the two agree is a test. Standard library only, since deploy/docker runs it in the base image.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import sysconfig
import uuid
from collections.abc import Iterable, Mapping, Sequence
from email import message_from_string
from importlib.metadata import distributions
from pathlib import Path
from typing import Any
from urllib.parse import quote

from image_builder.sources import DISTRIBUTION, version_of

_NOT_INSTALLED = re.compile(r"^Status: .* (?!installed)\S+$", re.MULTILINE)


def document(name: str, version: str, components: Iterable[Mapping[str, Any]]) -> bytes:
    """Return the bill of an image as JSON; the same content gives the same bytes."""
    listed = sorted(components, key=lambda component: component["purl"])
    mark = hashlib.sha256(json.dumps([name, version, listed], sort_keys=True).encode()).hexdigest()
    bill = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.UUID(mark[:32], version=4)}",
        "version": 1,
        "metadata": {"component": {"type": "container", "bom-ref": name, "name": name, "version": version}},
        "components": listed,
    }
    return json.dumps(bill, indent=1, sort_keys=True).encode() + b"\n"


def python_components(site: Path) -> list[dict[str, Any]]:
    """Return the installed Python packages, without this project's own, which is what the bill is about."""
    found = []
    for distribution in distributions(path=[str(site)]):
        name = re.sub(r"[-_.]+", "-", distribution.metadata["Name"]).lower()
        if name != DISTRIBUTION:
            expression = distribution.metadata.json.get("license_expression")
            licenses = {"licenses": [{"expression": expression}]} if expression else {}
            purl = f"pkg:pypi/{name}@{_quoted(distribution.version)}"
            found.append({**_library(name, distribution.version, purl), **licenses})
    return found


def debian_components(records: Iterable[str]) -> list[dict[str, Any]]:
    """Return the packages that dpkg's records (control paragraphs) tell of, without those that were removed again."""
    found = []
    for record in records:
        fields = message_from_string(record)
        if "Package" in fields and not _NOT_INSTALLED.search(record):
            name, version, architecture = fields["Package"], fields["Version"], fields["Architecture"]
            purl = f"pkg:deb/debian/{quote(name)}@{_quoted(version)}?arch={architecture}"
            found.append(_library(name, version, purl))
    return found


def records(dpkg: Path) -> list[str]:
    """Return the records in dpkg's folder: one file for all, or one for each in an image without package manager."""
    paths = [path for path in (dpkg / "status", *sorted(dpkg.glob("status.d/*"))) if path.is_file()]
    return [record for path in paths for record in path.read_text().split("\n\n") if record.strip()]


def _library(name: str, version: str, purl: str) -> dict[str, Any]:
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def _quoted(version: str) -> str:
    return quote(version, safe=".-~:")


def main(arguments: Sequence[str]) -> int:
    """Write the bill of the image that this runs in, by the Python of its environment."""
    name, checkout, target = arguments
    site = Path(sysconfig.get_path("purelib"))
    components = [*python_components(site), *debian_components(records(Path("/var/lib/dpkg")))]
    path = Path(target)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(document(name, version_of(Path(checkout)), components))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
