"""Pushes a model's folder to a registry that the Secret on standard input opens: what `hack/model/push` runs.

It needs what the agent needs (httpx), and so runs in the inference environment.
"""

from __future__ import annotations

import base64
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from inference_server.files.errors import FetchError
from inference_server.files.oci import image
from inference_server.files.oci.credentials import Credentials


def credentials_of(secret: dict[str, Any]) -> Credentials:
    """What a Secret of type kubernetes.io/dockerconfigjson opens; raises `FetchError` where it is none."""
    with tempfile.TemporaryDirectory(prefix="kaito-secret-") as name:
        folder = Path(name) / Path(secret["metadata"]["name"]).name
        folder.mkdir()
        for key, text in secret["data"].items():
            (folder / Path(key).name).write_bytes(base64.b64decode(text))
        return Credentials.of_folders([folder])


def main(words: Sequence[str]) -> int:
    """Print the digest of what was pushed; exit 1, with one sentence, when the registry does not take it."""
    folder, reference = Path(words[0]), words[1]
    names = sorted(path.name for path in folder.iterdir())
    try:
        credentials = credentials_of(json.load(sys.stdin))
        print(image.push(folder, names, reference, credentials=credentials, annotations={}))
    except FetchError as error:
        print(f"hack/model/push: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
