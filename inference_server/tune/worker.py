"""One training process; the supervisor starts it with its own arguments, and is told how far it is and how it ended."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from inference_server import contract
from inference_server.notice import tell
from inference_server.refusal import InputError
from inference_server.tune import adapter, arguments, base_model, data_files, stopping
from inference_server.tune.arguments import Arguments
from inference_server.tune.channel import Channel
from inference_server.tune.examination import Examination
from inference_server.tune.progress import State
from inference_server.tune.supervisor import ENV_WORK, Ending

_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# How torch and safetensors, which are not written in Python, tell the same.
_NO_ROOM_WORDS: Final = ("no space left", "file too large", "disk quota", "failed writing file", "iostream error")


def main(words: Sequence[str]) -> int:
    """Trains and returns the exit code; the supervisor is told the cause."""
    stop = stopping.Stopping()
    stop.install()
    channel = Channel.of_environment()
    try:
        ending = _ending(arguments.parse(words), channel, stop)
    except stopping.StoppedError:
        ending = Ending(contract.EXIT_STOPPED, "stopped by a signal before a step was done")
    channel.ended(ending.code, ending.cause)
    return ending.code


def _ending(given: Arguments, channel: Channel, stop: stopping.Stopping) -> Ending:
    try:
        return _work(given, channel, stop)
    except InputError as refusal:
        return Ending(refusal.exit_code, str(refusal))
    except Exception as error:  # noqa: BLE001 (the libraries raise what they like, and the cause must still be told)
        traceback.print_exception(error, file=sys.stderr)
        told = " ".join(f"{type(error).__name__}: {error}".split())[:1500]
        if _is_no_room(error):
            cause = f"output {given.output}: room for checkpoints and the adapter, found {told}; enlarge the volume"
            return Ending(contract.EXIT_OUTPUT, cause)
        return Ending(contract.EXIT_ENGINE, f"the training failed: {told}")


def _work(given: Arguments, channel: Channel, stop: stopping.Stopping) -> Ending:
    # What can be refused without torch is; importing it takes long.
    model = base_model.find(given.model)
    from inference_server.tune import config, library_keys
    from inference_server.tune.training import Training

    wanted = config.read(given.config_file, given.method, library_keys.read())
    training = Training(config=wanted, model=model, work=Path(os.environ[ENV_WORK]), channel=channel, stop=stop)
    if training.is_first:
        for note in wanted.notes:
            tell(note)
    options = wanted.dataset
    files = data_files.choose(given.data, path=options.path, extension=options.extension)
    training.take_data(Examination(files=files, columns=options.columns))
    if adapter.is_saved(given.output, training.identity):
        return Ending(contract.EXIT_OK, "an earlier try had trained already")
    channel.tell(message="opening the model")
    finished = training.train(given.output)
    if not finished:
        return Ending(contract.EXIT_STOPPED, training.stopped_cause())
    if training.is_first:
        channel.tell(state=State.SAVING.value, message="saving the adapter", eta_s=None)
        adapter.save(training.write, given.output, model_name=given.model_name, identity=training.identity)
        training.forget_checkpoints()
    return Ending(contract.EXIT_OK, training.cause())


def _is_no_room(error: BaseException) -> bool:
    chain: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in chain:
        chain.append(following)
        following = following.__cause__ or following.__context__
    return any(
        (isinstance(one, OSError) and one.errno in _NO_ROOM) or any(word in str(one).lower() for word in _NO_ROOM_WORDS)
        for one in chain
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
