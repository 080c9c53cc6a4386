"""``kubectl kaito``: what the catalogue knows and what hardware a model needs, without a cluster.

Exit codes: 0 answered, 1 what was given cannot be used, 2 a plan was asked for and nothing fits.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import Final, NoReturn

from kaito_controller.cli.bad_input import BadInputError
from kaito_controller.cli.plan_options import add_plan_options

OUTPUTS: Final = ("table", "wide", "json", "yaml")
INTERRUPTED: Final = 130


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are bad input like any other: exit code 2 means that nothing fits."""

    def error(self, message: str) -> NoReturn:
        raise BadInputError(f"{message}; see {self.prog} --help")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    try:
        parsed = _parser().parse_args(arguments)
        code: int = parsed.command(parsed)
        sys.stdout.flush()
    except BadInputError as error:
        print(f"kubectl kaito: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Whoever read has enough, as `head` does; the interpreter must not try again to write what is left.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return INTERRUPTED
    return code


def _parser() -> argparse.ArgumentParser:
    what = "What the catalogue knows and what hardware a model needs, without a cluster."
    parser = _Parser(prog="kubectl kaito", description=what, allow_abbrev=False)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_list(commands, "models", ["presets"], "models that inference.preset.name may be", _models)
    _add_list(commands, "skus", [], "instance types that resource.instanceType may be", _skus)
    plan = commands.add_parser(
        "plan",
        help="what hardware a model needs, and why",
        description="What hardware a model needs, and why. Exits 2 when nothing fits.",
        allow_abbrev=False,
    )
    add_plan_options(plan)
    _add_output(plan)
    plan.set_defaults(command=_plan)
    return parser


def _add_list(
    commands: argparse._SubParsersAction[_Parser],
    name: str,
    aliases: list[str],
    what: str,
    command: Callable[[argparse.Namespace], int],
) -> None:
    parser = commands.add_parser(name, aliases=aliases, help=what, description=what.capitalize(), allow_abbrev=False)
    parser.add_argument("words", nargs="*", metavar="WORD", help="only what contains all of these, in any case")
    _add_output(parser)
    parser.set_defaults(command=command)


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", choices=OUTPUTS, default=OUTPUTS[0], help="the form of the answer")


# Each command imports what it needs: none of it is needed to say that a word is misspelt.


def _models(parsed: argparse.Namespace) -> int:
    from kaito_controller.cli import listings

    return listings.models(parsed.words, parsed.output)


def _skus(parsed: argparse.Namespace) -> int:
    from kaito_controller.cli import listings

    return listings.skus(parsed.words, parsed.output)


def _plan(parsed: argparse.Namespace) -> int:
    from kaito_controller.cli import plan_command

    return plan_command.run(parsed)


if __name__ == "__main__":
    sys.exit(main())
