"""The engine's own process: reads what it was given, imports vLLM and serves until it is told to end."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from inference_server import contract
from inference_server.notice import tell
from inference_server.refusal import InputError
from inference_server.serve import administration, argv, config_file, model_folder, own_arguments, weights
from inference_server.serve.supervisor import ENV_VERDICT, Verdict, report

WITHOUT_A_WORD: Final = (
    "an engine process ended without a word while serving, as one does that is killed; see the node's events and memory"
)


def main(words: Sequence[str]) -> int:
    """Serves, and reports to the parent process how it ended; the parent tells it."""
    _keep_verdict_from_children()
    administration.distrust_forwarded_addresses()
    try:
        _serve(words)
        # vLLM ends in the same way after a drain, which the parent knows of.
        verdict = Verdict(code=contract.EXIT_ENGINE, cause=WITHOUT_A_WORD, final=False)
    except InputError as refusal:
        verdict = Verdict(code=refusal.exit_code, cause=str(refusal), final=True)
    except KeyboardInterrupt:
        verdict = Verdict(code=contract.EXIT_OK, cause="stopped by a signal before it was ready", final=False)
    except SystemExit as stop:
        failed = stop.code not in (None, 0)
        code = contract.EXIT_ENGINE if failed else contract.EXIT_OK
        cause = f"the engine left with {stop.code}" if failed else "as asked"
        verdict = Verdict(code=code, cause=cause, final=False)
    except Exception as error:  # noqa: BLE001 (the engine raises what it likes, and the cause must still be told)
        cause = f"{type(error).__name__}: {' '.join(str(error).split())}"
        verdict = Verdict(code=contract.EXIT_ENGINE, cause=cause, final=False)
    report(verdict)
    return verdict.code


def _keep_verdict_from_children() -> None:
    number = os.environ.get(ENV_VERDICT, "")
    if number.isdecimal():
        os.set_inheritable(int(number), False)


def _serve(words: Sequence[str]) -> None:
    own, rest = own_arguments.split(words)
    config = config_file.read(Path(own.config_file)) if own.config_file else config_file.ConfigFile(vllm={})
    # Importing vLLM takes long: what can be refused without it was, by the parent.
    from inference_server.serve.engine import Engine

    engine = Engine()
    if own.weights_agent is not None:
        # Meanwhile the files came nearer. A misspelt option is told now, not after hours of download.
        argv.resolve(rest, config, engine.options, own=own)
        if own.architecture is not None:
            engine.inspect(own.architecture)
        folder = weights.Wait(ask=weights.loopback(own.weights_agent), tell=tell).folder()
        rest = weights.with_model(rest, folder)
        model_folder.check(
            argv.wanted(rest, config, contract.ARG_MODEL), argv.wanted(rest, config, contract.ARG_LOAD_FORMAT)
        )
    engine.serve(argv.resolve(rest, config, engine.options, own=own))


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.exit(code)
