"""`python -m inference_server.tune fetch|run …`: does it, and says in the last line how it ended."""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Sequence

from inference_server import contract, ending
from inference_server.refusal import InputError
from inference_server.tune import arguments
from inference_server.tune.supervisor import Ending


def main(words: Sequence[str]) -> int:
    """Runs the command and returns the exit code; the last line on stderr is the cause."""
    # The first process of a container ignores SIGTERM unless it says what to do.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        ended = _run(words)
    except InputError as refusal:
        ended = Ending(refusal.exit_code, str(refusal))
    except KeyboardInterrupt:
        ended = Ending(contract.EXIT_STOPPED, "stopped by a signal")
    except OSError as error:
        ended = Ending(contract.EXIT_OUTPUT, f"the disk: {error}")
    except Exception as error:  # noqa: BLE001 (a fault of our own, and the cause must still be told)
        traceback.print_exception(error)
        ended = Ending(contract.EXIT_ENGINE, f"a fault of the tuning's own: {type(error).__name__}: {error}")
    ending.tell(f"inference_server: ended ({ended.code}): {ended.cause}", report=ended.report)
    return ended.code


def _run(words: Sequence[str]) -> Ending:
    given = arguments.parse(words)
    if given.command == contract.TUNE_FETCH:
        from inference_server.tune.fetch import fetch

        return fetch(given)
    from inference_server.tune.run import run

    return run(given, words)


if __name__ == "__main__":
    ending.leave(main(sys.argv[1:]))
