"""ModelConfig.chat_template: the template itself, or a file below /mnt that holds it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from inference_server.plain_yaml import refusal

MAX_BYTES: Final = 256 * 1024
MOUNTS: Final = Path("/mnt")
_FIELD: Final = "ModelConfig.chat_template"


def read(value: str, mounts: Path = MOUNTS) -> str:
    """The template, which transformers runs in a sandbox. Raises InputError for a file that holds none."""
    if not value.startswith("/"):
        return value
    path = Path(value).resolve()
    if not path.is_relative_to(mounts):
        raise refusal(_FIELD, f"a template, or a file below {mounts} that holds one", repr(value), "")
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise refusal(_FIELD, f"a file of at most {MAX_BYTES} bytes", "a larger one", "")
        return raw.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise refusal(_FIELD, "a readable file of UTF-8 text", str(error), "") from error
