"""Writes the pairs of tuning.yaml as a Parquet file with the columns prompt and completion: `pairs.py FILE`."""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow as pa
import yaml
from pyarrow import parquet

PAIRS = Path(__file__).with_name("tuning.yaml")


def main(words: list[str]) -> int:
    """Exit 2 when no file is named."""
    if len(words) != 1:
        print("usage: pairs.py FILE", file=sys.stderr)
        return 2
    pairs = yaml.safe_load(PAIRS.read_text())["pairs"]
    parquet.write_table(pa.Table.from_pylist(pairs), words[0])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
