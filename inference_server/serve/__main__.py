"""`python -m inference_server.serve [--config-file FILE] [option of vLLM]…`: serves until stopped, then says why."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from inference_server import contract, ending
from inference_server.serve import argv, config_file, model_folder
from inference_server.serve.refusal import InputError


def main(words: Sequence[str]) -> int:
    """Runs the server and returns the exit code; the last line on stderr is the cause."""
    try:
        code, cause = _serve(words)
    except InputError as refusal:
        code, cause = refusal.exit_code, str(refusal)
    except KeyboardInterrupt:
        code, cause = contract.EXIT_OK, "stopped by a signal before it was ready"
    except SystemExit as stop:
        code = (
            stop.code if isinstance(stop.code, int) else contract.EXIT_OK if stop.code is None else contract.EXIT_ENGINE
        )
        cause = "as asked" if code == contract.EXIT_OK else f"the engine left with {stop.code}"
    except Exception as error:  # noqa: BLE001 (the engine raises what it likes, and the cause must still be told)
        cause = f"the engine could not serve: {type(error).__name__}: {' '.join(str(error).split())}"
        code = contract.EXIT_ENGINE
    ending.tell(f"inference_server: ended ({code}): {cause}")
    return code


def _serve(words: Sequence[str]) -> tuple[int, str]:
    path, rest = argv.split(words)
    config = config_file.read(Path(path)) if path else config_file.ConfigFile(vllm={})
    for key in config.without_effect:
        print(f"inference_server: {key} in the config file has no effect here", file=sys.stderr)
    model_folder.check(
        argv.wanted(rest, config, contract.ARG_MODEL), argv.wanted(rest, config, contract.ARG_LOAD_FORMAT)
    )
    # Importing vLLM takes long: what can be refused without it was.
    from inference_server.serve.engine import Engine

    engine = Engine()
    outcome = engine.serve(argv.resolve(rest, config, engine.options))
    if outcome.signal is None:
        return contract.EXIT_ENGINE, "the engine died while serving; its own lines above say why"
    return contract.EXIT_OK, f"stopped by {signal.Signals(outcome.signal).name}" if outcome.signal else "stopped"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
