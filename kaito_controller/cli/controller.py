"""``kaito-controller``: run the operator. Exit codes: 0 stopped as asked, 1 could not start or failed, 2 wrong flag."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from typing import Final

USAGE: Final = """\
usage: kaito-controller [run] [flags]   run the controllers until SIGTERM (kaito-controller run --help)
       kaito-controller --version       print the version
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if "--version" in words:
        print(f"kaito-controller {version()}")
        return 0
    if not words or words[0] in {"-h", "--help", "help"}:
        print(USAGE, end="")
        return 0 if words else 2
    if words[0].startswith("-"):  # a Deployment written for upstream gives flags alone
        return _run(words)
    if words[0] != "run":
        return _fail(2, f"unknown command {words[0]!r}; the command is run (see kaito-controller --help)")
    return _run(words[1:])


def version() -> str:
    """Return the version of the installed distribution, or of the checkout when it is not installed."""
    from importlib import metadata

    try:
        return metadata.version("kaito-controller")
    except metadata.PackageNotFoundError:
        return "0.1.0+checkout"


def _run(flags: Sequence[str]) -> int:
    from kaito_controller.app import options, wiring
    from kaito_controller.app.loop import loop_factory

    try:
        wanted = options.parse(flags)
        factory = loop_factory(os.environ)
    except options.OptionsError as error:
        return _fail(2, str(error))
    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(wiring.run(wanted))
    except options.OptionsError as error:
        return _fail(2, str(error))
    except wiring.StartError as error:
        return _fail(1, str(error))
    except KeyboardInterrupt:
        return 130
    return 0


def _fail(code: int, message: str) -> int:
    print(f"kaito-controller: {message}", file=sys.stderr)
    return code
