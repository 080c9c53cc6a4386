"""Where a model's files come from, as a URI: what may be written, and its parts. Pure.

The forms are checked by the API server too, with the very same pattern (RE2 and Python agree on it).
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final, Self

from attrs import frozen

_SEGMENT: Final = "[A-Za-z0-9_][A-Za-z0-9._-]*"
_PATH: Final = f"(/{_SEGMENT})*"
_HOST: Final = "[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?(:[0-9]{1,5})?"
_REPOSITORY: Final = "[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*"
OCI_PATTERN: Final = f"oci://{_HOST}/{_REPOSITORY}(:[A-Za-z0-9_][A-Za-z0-9._-]*)?(@sha256:[0-9a-f]{{64}})?"
PATTERN: Final = (
    "^("
    f"hf://{_SEGMENT}/{_SEGMENT}(@[A-Za-z0-9][A-Za-z0-9._-]*)?"
    f"|{OCI_PATTERN}"
    f"|pvc://[a-z0-9]([-a-z0-9.]*[a-z0-9])?{_PATH}"
    f"|node://(/{_SEGMENT})+"
    f"|(s3|gs|az)://[a-z0-9][a-z0-9._-]*{_PATH}/?"
    ")$"
)
FORMS: Final = (
    "hf://ORGANISATION/MODEL[@REVISION], oci://REGISTRY/NAME[:TAG][@sha256:...], pvc://CLAIM[/PATH], node:///PATH,"
    " s3://BUCKET[/PATH], gs://BUCKET[/PATH], az://CONTAINER[/PATH]"
)
LENGTH: Final = 1024
_PARSED: Final = re.compile(PATTERN)


class Scheme(StrEnum):
    """The kinds of places."""

    HUB = "hf"
    REGISTRY = "oci"
    CLAIM = "pvc"
    NODE = "node"
    S3 = "s3"
    GOOGLE = "gs"
    AZURE = "az"

    @property
    def is_fetched(self) -> bool:
        """Whether the files are copied to the pod before the engine reads them."""
        return self in {Scheme.HUB, Scheme.REGISTRY}

    @property
    def is_streamed(self) -> bool:
        """Whether the engine reads them over the network, straight into the GPUs."""
        return self in {Scheme.S3, Scheme.GOOGLE, Scheme.AZURE}


@frozen(kw_only=True)
class WeightsUri:
    """One URI: its scheme, and what follows `://`."""

    scheme: Scheme
    rest: str

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read one; None for what is none."""
        if len(text) > LENGTH or not _PARSED.fullmatch(text) or ".." in text:
            return None
        scheme, _, rest = text.partition("://")
        return cls(scheme=Scheme(scheme), rest=rest)

    @property
    def claim(self) -> tuple[str, str]:
        """The PersistentVolumeClaim's name, and the path in it without slashes around."""
        name, _, path = self.rest.partition("/")
        return name, path

    def __str__(self) -> str:
        return f"{self.scheme}://{self.rest}"
