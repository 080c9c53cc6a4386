"""Compiles Python files ahead; run by the image's own interpreter: `python bytecode.py ROOT SHARD SHARDS FOLDER…`.

A pod's root is read-only, so that each start would compile everything anew. What is written holds the path in the image
instead of here, and is taken without a look at the source's date. It also depends on what the process compiled before
(marshal notes which constants others refer to), so files go to a fixed number of shards, in a fixed order.
"""

from __future__ import annotations

import py_compile
import sys
from pathlib import Path


def main(arguments: list[str]) -> int:
    """Compile one shard of the files below the folders; a file that is not for this Python is left as it is."""
    root, shard, shards = Path(arguments[0]), int(arguments[1]), int(arguments[2])
    files = sorted(path for folder in arguments[3:] for path in Path(folder).rglob("*.py"))
    for path in files[shard::shards]:
        compile_one(path, root)
    return 0


def compile_one(path: Path, root: Path) -> None:
    """Compile a file below `root` under the name it has in the image."""
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    try:
        py_compile.compile(str(path), dfile=f"/{path.relative_to(root)}", doraise=True, invalidation_mode=mode)
    except (py_compile.PyCompileError, ValueError, UnicodeError, RecursionError):
        # Packages ship templates and files of other versions of Python; whoever imports one is told then.
        return


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
