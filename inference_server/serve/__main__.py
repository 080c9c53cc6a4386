"""`python -m inference_server.serve [--config-file FILE] [option of vLLM]…`: serves until stopped, then says why."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from inference_server import contract, ending
from inference_server.notice import PREFIX, tell
from inference_server.refusal import InputError
from inference_server.serve import argv, config_file, model_folder, object_storage, own_arguments, supervisor
from inference_server.serve.causes import Cause


def main(words: Sequence[str]) -> int:
    """Runs the server and returns the exit code; the last line on stderr is the cause."""
    try:
        cause = _serve(words)
    except InputError as refusal:
        cause = Cause(code=refusal.exit_code, text=str(refusal))
    except Exception as error:  # noqa: BLE001 (a fault of our own, and the cause must still be told)
        traceback.print_exception(error)
        text = f"the engine could not be started: {type(error).__name__}: {error}"
        cause = Cause(code=contract.EXIT_ENGINE, text=text)
    ending.tell(f"{PREFIX}ended ({cause.code}): {cause.text}")
    return cause.code


def _serve(words: Sequence[str]) -> Cause:
    own, rest = own_arguments.split(words)
    config = config_file.read(Path(own.config_file)) if own.config_file else config_file.ConfigFile(vllm={})
    for name in (*own.without_effect, *config.without_effect):
        tell(f"{name} has no effect here")
    # The engine takes half a minute to import: what can be refused without it is refused here.
    if own.weights_agent is None:
        model_folder.check(
            argv.wanted(rest, config, contract.ARG_MODEL), argv.wanted(rest, config, contract.ARG_LOAD_FORMAT)
        )
    leader = argv.last(rest, contract.ARG_MASTER_ADDR) if argv.is_later_rank(rest) else None
    port = argv.last(rest, contract.ARG_PORT) or str(contract.PORT)
    engine = supervisor.Supervisor(
        command=supervisor.command(words),
        environment=object_storage.with_addressing(os.environ),
        later_rank_of=(leader, int(port)) if leader is not None and port.isdecimal() else None,
    )
    return engine.run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
