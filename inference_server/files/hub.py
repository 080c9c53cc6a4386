"""Downloads from a model hub (Hugging Face's, or one that speaks like it, named by HF_ENDPOINT)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from attrs import frozen

from inference_server.files.clock import Clock
from inference_server.files.limits import Limits
from inference_server.files.progress import Progress

SAFE_PATTERNS: Final = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken", "*.md")
"""Weights as safetensors, and what tokenizers and configurations are kept in: no pickle (.bin, .pt), no program."""


@frozen(kw_only=True)
class Fetched:
    """What was brought.

    Attributes:
        revision: the commit, 40 hexadecimal digits, whatever branch or tag was asked for.
        files: paths below the folder, with `/`, sorted.
    """

    revision: str
    files: tuple[str, ...]


def fetch(
    reference: str,
    folder: Path,
    *,
    token: str | None = None,
    patterns: Sequence[str] = SAFE_PATTERNS,
    limits: Limits | None = None,
    progress: Progress | None = None,
    clock: Clock | None = None,
) -> Fetched:
    """Download `organization/model[@revision]` into `folder`, pinned to one commit.

    The folder appears whole or not at all; an older one is replaced. What a broken attempt brought stays in a hidden
    sibling, and the next attempt goes on from there. A file that `patterns` matches but that is a pickle or a program
    is refused. Raises `FetchError`.
    """
    raise NotImplementedError
