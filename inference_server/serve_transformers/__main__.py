"""`python -m inference_server.serve_transformers --model …`: serves until stopped, then says why."""

from __future__ import annotations

import logging
import signal
import sys
import time
from collections.abc import Sequence
from typing import Final

from inference_server import contract, ending
from inference_server.refusal import InputError
from inference_server.serve.drain import Drain
from inference_server.serve_transformers import options
from inference_server.serve_transformers.options import Options

# What is left open when all requests have ended, or were cut, is closed after this.
CLOSE_S: Final = 2
logger = logging.getLogger(__name__)


class StoppedError(BaseException):
    """A signal asks this process to end. No handler of ordinary errors may swallow it."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)


def main(words: Sequence[str]) -> int:
    """Runs the server and returns the exit code; the last line on stderr is the cause."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    try:
        _serve(options.read(words))
        code, cause = contract.EXIT_ENGINE, "the server ended by itself"
    except InputError as refusal:
        code, cause = refusal.exit_code, str(refusal)
    except StoppedError as stop:
        code, cause = contract.EXIT_OK, f"stopped by {stop}"
    except MemoryError as error:
        code, cause = contract.EXIT_MEMORY, f"the model does not fit into the memory: {error}"
    except SystemExit as stop:
        # uvicorn leaves so when it cannot listen, and has said why.
        code, cause = contract.EXIT_ENGINE, f"the server left with {stop.code}: its own lines above say why"
    except Exception as error:  # noqa: BLE001 (libraries raise what they like, and the cause must still be told)
        cause = f"transformers could not serve: {type(error).__name__}: {' '.join(str(error).split())}"
        code = contract.EXIT_ENGINE
    ending.tell(f"inference_server: ended ({code}): {cause}")
    return code


def _stop(number: int, _: object) -> None:
    raise StoppedError(number)


def _serve(chosen: Options) -> None:
    # Importing torch takes long: what can be refused without it was.
    import uvicorn
    from prometheus_client import REGISTRY

    from inference_server.serve_transformers import application, generation, metrics, model, turns

    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(asctime)s %(message)s")
    began = time.monotonic()
    loaded = model.load(chosen)
    logger.info("loaded %s in %.1f s, context %d", chosen.model, time.monotonic() - began, loaded.max_model_len)
    told = metrics.Metrics(REGISTRY)
    endpoints = application.Endpoints(
        generator=generation.Generator(loaded),
        turns=turns.Turns(chosen.max_waiting, told),
        metrics=told,
        served_names=chosen.served_names,
        started=int(time.time()),
    )
    app = application.application(endpoints)
    drain = Drain(app)
    config = uvicorn.Config(
        drain,
        host=chosen.host,
        port=chosen.port,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=CLOSE_S,
        server_header=False,
    )
    # The layer that drains takes the signals while this runs, and ends it.
    app.state.server = uvicorn.Server(config)
    app.state.server.run()
    if drain.ended_by is not None:
        raise StoppedError(drain.ended_by)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
