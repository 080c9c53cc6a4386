"""Places packages of a checkout into site-packages: `python -m image_builder.sources CHECKOUT PACKAGE… [!FOLDER…]`.

They are pure Python, so they are copied as they are instead of through a build that would fetch a build backend:
nothing comes into an image that no lock file names. A folder after an exclamation mark is left out. Standard library
only, since deploy/docker runs it in the base image.
"""

from __future__ import annotations

import configparser
import shutil
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

DISTRIBUTION = "kaito-controller"


def place(checkout: Path, site: Path, packages: Sequence[str], exclusions: Sequence[str] = ()) -> None:
    """Copy the packages, and say by metadata which version they are."""
    site.mkdir(parents=True, exist_ok=True)
    for path in files(checkout, packages, exclusions):
        target = site / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(checkout / path, target)
    number = version_of(checkout)
    record = site / f"{DISTRIBUTION.replace('-', '_')}-{number}.dist-info"
    record.mkdir(exist_ok=True)
    metadata = f"Metadata-Version: 2.4\nName: {DISTRIBUTION}\nVersion: {number}\nLicense-Expression: Apache-2.0\n"
    (record / "METADATA").write_text(metadata)


def files(checkout: Path, packages: Sequence[str], exclusions: Sequence[str] = ()) -> list[Path]:
    """Return the packages' files, sorted, relative to the checkout."""
    left_out = tuple(checkout / folder for folder in exclusions)
    return [
        path.relative_to(checkout)
        for package in packages
        for path in sorted((checkout / package).rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts and not any(map(path.is_relative_to, left_out))
    ]


def version_of(checkout: Path) -> str:
    """Return the version in setup.cfg."""
    setup = configparser.ConfigParser(interpolation=None)
    setup.read(checkout / "setup.cfg")
    return setup["metadata"]["version"]


def main(arguments: Sequence[str]) -> int:
    """Place packages into the environment of the Python that runs this."""
    checkout, *names = arguments
    packages = [name for name in names if not name.startswith("!")]
    exclusions = [name[1:] for name in names if name.startswith("!")]
    place(Path(checkout), Path(sysconfig.get_path("purelib")), packages, exclusions)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
