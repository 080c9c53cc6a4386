"""hack/images: the command line of the image builder."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from local_cluster.folders import cache_folder
from local_cluster.problem import Problem

from image_builder.build import Builder
from image_builder.recipe import RECIPES


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(prog="hack/images", description="The project's images, made on this machine.")
    commands = top.add_subparsers(dest="command", required=True, metavar="build")
    text = "build an image and print the path of its archive"
    build = commands.add_parser("build", help=text, description=text)
    build.add_argument("image", choices=sorted(RECIPES), help="which one")
    build.add_argument("--output", type=Path, metavar="FILE.tar", help="where the archive goes (default: the cache)")
    return top


def main(arguments: Sequence[str]) -> int:
    """Build one image; what a person can remedy is one sentence and exit status 1."""
    parsed = parser().parse_args(arguments)
    # An end that cleans up, whichever signal asks for it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    cache = cache_folder() / "images"
    recipe = RECIPES[parsed.image]
    archive = parsed.output or cache / f"{recipe.repository}.tar"
    started = time.monotonic()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        built = Builder(cache=cache, say=_say).build(recipe, archive.absolute())
    except (Problem, KeyboardInterrupt) as error:
        print(f"hack/images {parsed.command}: {str(error) or 'interrupted'}", file=sys.stderr)
        return 1
    archive.with_suffix(".cdx.json").write_bytes(built.sbom)
    size = archive.stat().st_size >> 20
    _say(f"{built.name}@{built.digest}, {size} MiB, after {time.monotonic() - started:.0f} s")
    print(built.archive)
    return 0


def _say(text: str) -> None:
    print(f"images: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
