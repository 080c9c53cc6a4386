"""What sizing says of a model that does not fit, as the reason of a Workspace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from kaito_controller.api.reasons import Reason
from kaito_controller.controllers.workspace.verdict import Blocked
from kaito_controller.sizing.misfit import DoesNotFit, Misfit

_MISFITS: Final[Mapping[Misfit, Reason]] = {
    Misfit.GPU_MEMORY: Reason.MODEL_DOES_NOT_FIT,
    Misfit.CONTEXT: Reason.CONFIG_INVALID,
    Misfit.ACCELERATOR: Reason.RUNTIME_UNSUPPORTED,
    Misfit.NODE_COUNT: Reason.INVALID_SPEC,
    Misfit.WEIGHTS: Reason.RUNTIME_UNSUPPORTED,
    Misfit.PRECISION: Reason.RUNTIME_UNSUPPORTED,
    Misfit.PARALLELISM: Reason.CONFIG_INVALID,
    Misfit.NUMBERS: Reason.MODEL_DOES_NOT_FIT,
    Misfit.UNAVAILABLE: Reason.MODEL_DOES_NOT_FIT,
    Misfit.ENGINE: Reason.RUNTIME_UNSUPPORTED,
}


def blocked(misfit: DoesNotFit) -> Blocked:
    """Why there is no plan, as its user reads it."""
    reason = Reason.COUNT_TOO_SMALL if misfit.enough_nodes else _MISFITS[misfit.reason]
    return Blocked(reason=reason, message=misfit.message)
