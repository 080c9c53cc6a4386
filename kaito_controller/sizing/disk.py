"""How much disk a node needs for a model."""

from __future__ import annotations

from typing import Final

from kaito_controller.catalog.model import Preset
from kaito_controller.sizing.memory import GIB

# Upstream's formula (presets/workspace/generator, disk requirement): room for images and the system beside the weights.
SYSTEM_GIB: Final = 80


def disk_bytes(preset: Preset) -> int:
    """Disk that a node serving the preset needs: its weights and 80 GiB, rounded down to whole GiB."""
    return (preset.weights_bytes // GIB + SYSTEM_GIB) * GIB
