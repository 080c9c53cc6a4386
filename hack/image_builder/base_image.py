"""Refuses a base image that cannot carry ours: `python -m image_builder.base_image [--compiler]` inside of it.

The build argument BASE_IMAGE is in the environment of a Dockerfile's steps. With `--compiler` the image is for a GPU:
Triton, which PyTorch and vLLM call, compiles a C file against Python's headers for each kernel that it launches.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

_DIGEST = re.compile(r"[^@\s]+@sha256:[0-9a-f]{64}")
_PYTHON = (3, 11)
"""The version that the lock files of hack/requirements are resolved for."""


def problems(environment: Mapping[str, str], python: tuple[int, int], *, compiler: bool) -> Iterator[str]:
    """Yield one sentence, with its remedy, for each thing that is wrong with the base image."""
    name = environment.get("BASE_IMAGE", "")
    if not _DIGEST.fullmatch(name):
        yield (
            f"BASE_IMAGE: must carry a digest, found {name!r}; a tag may name something else tomorrow, so give "
            "--build-arg BASE_IMAGE=REPOSITORY@sha256:DIGEST, with the digest that your registry tells"
        )
    if python != _PYTHON:
        found = ".".join(map(str, python))
        yield f"BASE_IMAGE: must have Python 3.11, for which the lock files are made, found {found}; take another one"
    if compiler and not (shutil.which("cc", path=environment.get("PATH")) and _headers().is_file()):
        yield (
            f"BASE_IMAGE: must have a C compiler (cc) and {_headers()}, with which Triton compiles what launches its "
            "kernels; take a base image with gcc and Python's development files"
        )


def _headers() -> Path:
    return Path(sysconfig.get_path("include")) / "Python.h"


def main(arguments: Sequence[str]) -> int:
    """Exit 1, saying why, when the base image will not do."""
    found = list(problems(os.environ, sys.version_info[:2], compiler="--compiler" in arguments))
    for problem in found:
        print(problem, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
