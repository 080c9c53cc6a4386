"""Which event loop the operator runs on: uvloop where it is installed, else asyncio's own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from kaito_controller.app.options import OptionsError

VARIABLE: Final = "KAITO_LOOP"
LOOPS: Final = ("asyncio", "uvloop")


def loop_factory(environment: Mapping[str, str]) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes the main loop, for `asyncio.Runner`; None for asyncio's own way.

    ``KAITO_LOOP`` names one; without it, uvloop is taken when it can be imported.

    Raises:
        OptionsError: no such loop, or not installed.
    """
    wanted = environment.get(VARIABLE, "")
    if wanted not in {"", *LOOPS}:
        raise OptionsError(f"{VARIABLE}: there is no {wanted!r}; choose from {', '.join(LOOPS)}, or leave it out.")
    if wanted == "asyncio":
        return None
    try:
        import uvloop
    except ImportError:
        if wanted == "uvloop":
            raise OptionsError(
                f"{VARIABLE}: uvloop is not installed; pip install uvloop, or leave the variable out."
            ) from None
        return None
    made: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return made
