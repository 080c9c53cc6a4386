"""The one door to vLLM: its options, its checks and its own OpenAI server. Importing vLLM is slow, so it is late.

What is used of vLLM is what its command `vllm serve` is made of, the only way in that vLLM declares and documents:

- `vllm.entrypoints.cli.serve.cmd_init`: the subcommand's three parts (options, checks, the server itself), as the entry
  point `vllm` of its package calls them. The entry point itself would import every other subcommand, and could only be
  given words, not asked for its options.
- `FlexibleArgumentParser`, the parser class of that command; subclassed so that a refusal is raised instead of printed.
- `--middleware`, documented: our layers. They read three attributes of the application below them: `state.vllm_config`,
  `state.args` (how many requests run at once: no metric tells it) and `state.server` (to end, as vLLM's watchdog does).
- The metric `vllm:num_requests_waiting`, documented.
- `vllm.ModelRegistry`, documented, and of its entries `inspect_model_cls`, which is not, and is done without where a
  version does not have it.
- `vllm.logger.configure_logging_from_args`, which the command calls between its options and its checks; not declared
  public, and left out where a version does not have it.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from typing import Any, Final, NoReturn

from attrs import define, field

from inference_server import contract
from inference_server.refusal import InputError
from inference_server.serve import chat_template, rank_health
from inference_server.serve.argv import Option

SUBCOMMAND: Final = "serve"


@define
class Engine:
    """vLLM, with its options read once."""

    _parser: Any = field(init=False)
    _command: Any = field(init=False)
    _serve_parser: Any = field(init=False)

    def __attrs_post_init__(self) -> None:
        # As `vllm serve` sets it: the default start method is not safe with every accelerator.
        os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")
        from vllm.entrypoints.cli.serve import cmd_init
        from vllm.utils.argparse_utils import FlexibleArgumentParser

        class Parser(FlexibleArgumentParser):  # type: ignore[misc]
            """Raises where argparse would print and leave, so that the cause can be told in one line."""

            def error(self, message: str) -> NoReturn:
                name, _, rest = message.removeprefix("argument ").partition(": ")
                raise InputError(field=name, rule="as vLLM's option asks", found=rest or message)

        self._parser = Parser(prog=contract.SERVE_MODULE)
        subcommands = self._parser.add_subparsers(required=True, dest="subparser")
        (self._command,) = (command for command in cmd_init() if command.name == SUBCOMMAND)
        self._serve_parser = self._command.subparser_init(subcommands)

    @property
    def actions(self) -> Sequence[argparse.Action]:
        """Every argument of the command, as argparse holds it."""
        actions: Sequence[argparse.Action] = self._serve_parser._actions  # noqa: SLF001 (argparse lists them nowhere else)
        return actions

    @property
    def options(self) -> Mapping[str, Option]:
        """Every long option by its name without dashes."""
        found = {}
        for action in self.actions:
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

    def read(self, arguments: Sequence[str]) -> argparse.Namespace:
        """What vLLM's own parser makes of the arguments. Raises InputError for a value that it refuses."""
        found: argparse.Namespace = self._parser.parse_args(
            [SUBCOMMAND, *model_first(chat_template.located(arguments))]
        )
        return found

    def inspect(self, architecture: str) -> None:
        """Have vLLM look at the class that it has for a model, which `serve` then finds in vLLM's cache.

        vLLM does so in a process of its own that imports all of it again: ten seconds on two cores, of every start.
        """
        from vllm import ModelRegistry

        registered = getattr(ModelRegistry, "models", {}).get(architecture)
        inspect = getattr(registered, "inspect_model_cls", None)
        if inspect is not None:
            # What is wrong with the class, `serve` says in its own words.
            with suppress(Exception):
                inspect()

    def serve(self, arguments: Sequence[str]) -> None:
        """Serves until a signal comes or the engine dies. Raises InputError for a value that vLLM refuses."""
        args = self.read(arguments)
        _configure_logging(args)
        try:
            self._command.validate(args)
        except (TypeError, ValueError) as error:
            raise InputError(field="arguments", rule="consistent", found=str(error)) from error
        with rank_health.answering(args.host or "", args.port) if args.headless else nullcontext():
            self._command.cmd(args)


def model_first(arguments: Sequence[str]) -> list[str]:
    """The arguments with the model in front and without a name, as vLLM asks for it; the last one given counts."""
    models: list[str] = []
    rest: list[str] = []
    words = iter(arguments)
    for word in words:
        name, equals, value = word.partition("=")
        if name == contract.ARG_MODEL:
            models.append(value if equals else next(words, ""))
        else:
            rest.append(word)
    return [*models[-1:], *rest]


def _configure_logging(args: argparse.Namespace) -> None:
    from vllm import logger

    configure = getattr(logger, "configure_logging_from_args", None)
    if configure is not None:
        configure(args)
