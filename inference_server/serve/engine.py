"""The one door to vLLM: its options, its checks and its own OpenAI server. Importing vLLM is slow, so it is late."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, NoReturn

from attrs import field, frozen

from inference_server import contract
from inference_server.serve import rank_health
from inference_server.serve.argv import Option
from inference_server.serve.refusal import InputError


@frozen(kw_only=True)
class Outcome:
    """How serving ended: the signal that asked for it, or None when the engine went away by itself."""

    signal: int | None


def _parser() -> Any:
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    class Parser(FlexibleArgumentParser):  # type: ignore[misc]
        """Raises where argparse would print and leave, so that the cause can be told in one line."""

        def error(self, message: str) -> NoReturn:
            name, _, rest = message.removeprefix("argument ").partition(": ")
            raise InputError(field=name, rule="as vLLM's option asks", found=rest or message)

    return make_arg_parser(Parser(prog=contract.SERVE_MODULE))


@frozen
class Engine:
    """vLLM, with its options read once."""

    parser: Any = field(factory=_parser)

    @property
    def options(self) -> Mapping[str, Option]:
        """Every long option by its name without dashes."""
        found = {}
        for action in self.parser._actions:  # noqa: SLF001 (argparse offers no other way to list them)
            names = [name.removeprefix("--") for name in action.option_strings if name.startswith("--")]
            for name in names:
                if name.startswith("no-") and name.removeprefix("no-") in names:
                    continue
                found[name.replace("_", "-")] = Option(
                    takes_value=action.nargs != 0,
                    several=action.nargs in ("+", "*"),
                    negatable=f"no-{name}" in names,
                )
        return found

    def serve(self, arguments: Sequence[str]) -> Outcome:
        """Serves until a signal comes or the engine dies. Raises InputError for a value that vLLM refuses."""
        from vllm.entrypoints.cli.serve import ServeSubcommand
        from vllm.entrypoints.launchers.api_server.entry import run_server
        from vllm.entrypoints.launchers.cli_args import validate_parsed_serve_args
        from vllm.entrypoints.serve.utils.api_utils import cli_env_setup
        from vllm.logger import configure_logging_from_args

        cli_env_setup()
        args = self.parser.parse_args(list(arguments))
        configure_logging_from_args(args)
        try:
            validate_parsed_serve_args(args)
        except (TypeError, ValueError) as error:
            raise InputError(field="arguments", rule="consistent", found=str(error)) from error
        if _is_one_process(args):
            return _run(lambda: run_server(args))
        # Several API servers, several nodes: vLLM's own command arranges the processes and waits for a signal.
        with rank_health.answering(args.host or "", args.port) if args.headless else nullcontext():
            ServeSubcommand.cmd(args)
        return Outcome(signal=0)


def _is_one_process(args: argparse.Namespace) -> bool:
    simple = not args.headless and not args.grpc and args.api_server_count in (None, 1)
    return simple and args.data_parallel_size == 1 and not args.data_parallel_multi_port_external_lb


def _run(start: Callable[[], Any]) -> Outcome:
    """Runs vLLM's server on an event loop that remembers the signal which ended it.

    The server returns in the same way when its engine has died, and only a signal is a clean end.
    """
    import uvloop

    received: list[int] = []

    class Loop(uvloop.Loop):  # type: ignore[misc]
        def add_signal_handler(self, sig: int, callback: Callable[..., Any], *args: Any) -> None:
            def remember() -> None:
                received.append(sig)
                callback(*args)

            super().add_signal_handler(sig, remember)

    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(start())
    return Outcome(signal=received[0] if received else None)
