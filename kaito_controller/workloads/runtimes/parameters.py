"""The values that an operator was started with, for the runtime it was told to use."""

from __future__ import annotations

from collections.abc import Mapping

from kaito_controller.catalog.model import Runtime


class RuntimeParameterError(ValueError):
    """A parameter is missing or unknown; the message names it and the runtime's parameters."""


def resolve_parameters(runtime: Runtime, given: Mapping[str, str]) -> dict[str, str]:
    """Every parameter of the runtime with its given or default value.

    Raises:
        RuntimeParameterError: one without a default is not given, or one is given that the runtime does not have.
    """
    known = {parameter.name: parameter for parameter in runtime.parameters}
    for name in given:
        if name not in known:
            raise RuntimeParameterError(
                f"--runtime-parameter {name}: must be one of {', '.join(known) or 'none'} for runtime {runtime.name}; "
                f"found '{name}': correct or remove it"
            )
    values = {name: given.get(name, parameter.default) for name, parameter in known.items()}
    for name, value in values.items():
        if not value:
            raise RuntimeParameterError(
                f"--runtime-parameter {name}: must be given for runtime {runtime.name} ({known[name].description}); "
                f"found nothing: give {name}=VALUE"
            )
    return {name: value for name, value in values.items() if value}
