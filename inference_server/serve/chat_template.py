"""The chat templates that this server ships, and how `--chat-template NAME` finds one of them.

They are for models whose own template does not show tools, or that have none. Each is rendered in a test against a
conversation with tools, and read back by the parser that its models use.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from inference_server import contract
from inference_server.refusal import InputError, nearest

FOLDER: Final = Path(__file__).resolve().parent / "templates"
SUFFIX: Final = ".jinja"


def names() -> tuple[str, ...]:
    """The templates that are shipped, sorted."""
    return tuple(sorted(path.stem for path in FOLDER.glob(f"*{SUFFIX}")))


def located(words: Sequence[str]) -> list[str]:
    """The arguments with the name of a shipped template replaced by its path.

    Raises InputError for a name that no shipped template has, and for an absolute path that leads to no file.
    """
    found = []
    follows = False
    for word in words:
        name, equals, value = word.partition("=")
        if follows:
            found.append(path_of(word))
        elif equals and _is_option(name):
            found.append(f"{name}={path_of(value)}")
        else:
            found.append(word)
        follows = not follows and _is_option(word)
    return found


def path_of(value: str) -> str:
    """Where the template lies that an option's value means.

    A bare word is the name of a shipped one. A template written out, a path, and the file name of one that the engine
    ships itself stay as they are.
    """
    if "{" in value or "\n" in value:
        return value
    if value.startswith("/"):
        if not Path(value).is_file():
            raise _unknown(value, "a readable file, a name or a template written out", Path(value).stem)
        return value
    if "/" in value or value.endswith(SUFFIX):
        return value
    if value not in names():
        raise _unknown(value, "the name of a template of this server, or a path", value)
    return str(FOLDER / f"{value}{SUFFIX}")


def _is_option(word: str) -> bool:
    return word.replace("_", "-") == contract.ARG_CHAT_TEMPLATE


def _unknown(value: str, rule: str, name: str) -> InputError:
    # KAITO's image has its templates in files named tool-chat-NAME.jinja.
    close = nearest(name.removeprefix("tool-chat-"), names())
    remedy = close or f"this server has {', '.join(names())}; leave it out where the model brings its own template"
    return InputError(field=contract.ARG_CHAT_TEMPLATE, rule=rule, found=value, remedy=remedy)
