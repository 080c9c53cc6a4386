"""What vLLM's streamer of weights must be told beside the variables that a Secret holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

ENDPOINT: Final = "AWS_ENDPOINT_URL"
VIRTUAL_ADDRESSING: Final = "RUNAI_STREAMER_S3_USE_VIRTUAL_ADDRESSING"


def with_addressing(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment, with buckets named in paths where the store is not Amazon's and nothing else is asked for.

    runai-model-streamer 0.17 puts the bucket in front of the host's name, which servers of one's own seldom have a
    certificate or a name for.
    """
    if environment.get(ENDPOINT) and VIRTUAL_ADDRESSING not in environment:
        return {**environment, VIRTUAL_ADDRESSING: "0"}
    return dict(environment)
