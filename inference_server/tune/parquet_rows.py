"""Reads Parquet data, a few rows at a time. The one door to pyarrow."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from inference_server.tune.rows import Fault, Row

_BATCH_ROWS: Final = 64
# Of the footer, which a broken or malicious file may make as large as it likes; pyarrow's own bound is 100 MB.
_FOOTER_LIMIT: Final = 16 * 2**20


def read(path: Path, name: str, wanted: Collection[str]) -> Iterator[Row | Fault]:
    """The rows of one file; of its columns only those `wanted`, where it has any of them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(
            path, thrift_string_size_limit=_FOOTER_LIMIT, thrift_container_size_limit=_FOOTER_LIMIT, pre_buffer=False
        ) as file:
            names = file.schema_arrow.names
            columns = [one for one in names if one in wanted] or names
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=columns):
                for values in batch.to_pylist():
                    number += 1
                    yield Row(f"{name}: row {number}", values)
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        place = f"{name}: row {number + 1}" if number else name
        yield Fault(place, f"not Parquet: {' '.join(str(error).split())[:200]}")
