"""The headers of safetensors files and of their indexes, from bytes; the data behind them is never read.

A file is 8 bytes of length (little-endian), that much JSON, and the data. The JSON has for each tensor its dtype, its
shape and the half-open range of its bytes in the data. Source: huggingface/safetensors, README.md (Format) and
`Metadata::validate` in safetensors/src/tensor.rs, v0.8.0, whose rules are the ones below.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any, Final

from attrs import field, frozen

from kaito_controller.catalog.tensor import DTYPE_BITS, Tensor
from kaito_controller.sources.errors import malformed, too_large
from kaito_controller.sources.json_text import decode_object
from kaito_controller.sources.wording import shown, size_text

LENGTH_BYTES: Final = 8
FORMAT_LIMIT_BYTES: Final = 100_000_000
"""The longest header that the format allows."""
HEADER_LIMIT_BYTES: Final = 16 * 2**20
"""The longest header that is read: 100,000 tensors in one file, as a mixture of experts without shards would have,
take some 12 MiB, and decoded ten times that."""
HEADER_PARTS: Final = 600_000
"""Three for each of 200,000 tensors: the object, its shape and its range."""
INDEX_LIMIT_BYTES: Final = 64 * 2**20
"""An index of 370,000 tensors, as 512 experts of 12 packed tensors in each of 60 layers are, has some 38 MiB."""
RANK: Final = 16
ELEMENTS: Final = 2**63
METADATA: Final = "__metadata__"
"""The one key of a header that is no tensor."""
INFO_KEYS: Final = frozenset({"dtype", "shape", "data_offsets"})
RANGE_ENDS: Final = 2


@frozen(kw_only=True)
class Header:
    """What one file declares: its tensors in the order of their data, and the texts that its writer added."""

    tensors: tuple[Tensor, ...]
    metadata: Mapping[str, str] = field(factory=dict)


@frozen(kw_only=True)
class Index:
    """Which files a sharded checkpoint consists of, sorted, and how many tensors they have together."""

    files: tuple[str, ...]
    tensor_count: int


def header_length(start: bytes, *, what: str, file_bytes: int) -> int:
    """How many bytes of JSON follow the first eight.

    Args:
        start: the file's first bytes, 8 or more.
        what: the file, as messages call it.
        file_bytes: its size.

    Raises:
        SourceError: the file is too short for what it says, or the header longer than may be.
    """
    if len(start) < LENGTH_BYTES:
        raise malformed(f"{what}: a safetensors file starts with 8 bytes of length; found {len(start)} bytes in all")
    length = int.from_bytes(start[:LENGTH_BYTES], "little")
    if length > FORMAT_LIMIT_BYTES:
        rule = f"a safetensors header has at most {FORMAT_LIMIT_BYTES} bytes"
        raise malformed(f"{what}: {rule}; its length says {length}, so this is no safetensors file")
    if LENGTH_BYTES + length > file_bytes:
        raise malformed(f"{what}: its header must lie within the file; it says {length} bytes of {file_bytes}")
    if length > HEADER_LIMIT_BYTES:
        raise too_large(f"{what}: headers of up to {size_text(HEADER_LIMIT_BYTES)} are read; found {size_text(length)}")
    return length


def parse_header(header: bytes, *, what: str, data_bytes: int) -> Header:
    """Read the JSON of a header and hold it against the file.

    Args:
        header: the JSON alone, without the 8 bytes before it.
        what: the file, as messages call it.
        data_bytes: how many bytes the file has behind the header.

    Raises:
        SourceError: it is no such header, or does not describe these bytes.
    """
    if not header.startswith(b"{"):
        raise malformed(f"{what}: a safetensors header starts with '{{'; found {shown(header[:1].decode('latin-1'))}")
    raw = decode_object(header, what=f"{what}, header", parts=HEADER_PARTS, unique=True)
    metadata = _metadata(raw.pop(METADATA, None), what)
    placed = sorted((_placed(name, info, what) for name, info in raw.items()), key=lambda one: (one.begin, one.end))
    _refuse_gaps(placed, what, data_bytes)
    return Header(tensors=tuple(one.tensor for one in placed), metadata=metadata)


def parse_index(raw: bytes, *, what: str) -> Index:
    """Read a `model.safetensors.index.json`.

    Raises:
        SourceError: it is no such index.
    """
    weight_map = decode_object(raw, what=what).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise malformed(f"{what}: weight_map must be an object, of tensors to files; found {shown(weight_map)}")
    files = set()
    for name, file in weight_map.items():
        if not isinstance(file, str) or not file.endswith(".safetensors") or "/" in file or "\\" in file:
            rule = "must name a .safetensors file beside the index"
            raise malformed(f"{what}: weight_map of {shown(name)} {rule}; found {shown(file)}")
        files.add(file)
    return Index(files=tuple(sorted(files)), tensor_count=len(weight_map))


@frozen
class _Placed:
    """A tensor and where its data lies."""

    begin: int
    end: int
    tensor: Tensor


def _metadata(raw: Any, what: str) -> Mapping[str, str]:
    if raw is None:
        return {}
    if not isinstance(raw, dict) or not all(isinstance(value, str) for value in raw.values()):
        raise malformed(f"{what}: {METADATA} must be an object of texts; found {shown(raw)}")
    return raw


def _placed(name: str, info: Any, what: str) -> _Placed:
    where = f"{what}: tensor {shown(name)}"
    if not isinstance(info, dict) or not info.keys() >= INFO_KEYS:
        raise malformed(f"{where} must have dtype, shape and data_offsets; found {shown(info)}")
    dtype, shape = info["dtype"], info["shape"]
    bits = DTYPE_BITS.get(dtype) if isinstance(dtype, str) else None
    if bits is None:
        raise malformed(f"{where}: dtype must be one of {', '.join(DTYPE_BITS)}; found {shown(dtype)}")
    if not _are_counts(shape) or len(shape) > RANK:
        raise malformed(f"{where}: shape must be up to {RANK} whole numbers from 0; found {shown(shape)}")
    begin, end = _range(info["data_offsets"], where)
    size = _bytes(shape, bits, where)
    if end - begin != size:
        said = f"{dtype} of shape {list(shape)} takes {size} bytes"
        raise malformed(f"{where}: data_offsets must span what dtype and shape take; {said}, found {end - begin}")
    return _Placed(begin, end, Tensor(name=name, dtype=dtype, shape=tuple(shape), bytes=size))


def _range(offsets: Any, where: str) -> tuple[int, int]:
    if not _are_counts(offsets) or len(offsets) != RANGE_ENDS or offsets[0] > offsets[1]:
        raise malformed(f"{where}: data_offsets must be a begin and an end, not before it; found {shown(offsets)}")
    return offsets[0], offsets[1]


def _bytes(shape: Iterable[int], bits: int, where: str) -> int:
    elements = 1
    for dimension in shape:
        elements *= dimension
        if elements >= ELEMENTS:
            raise malformed(f"{where}: a tensor has fewer than 2**63 elements; its shape has more")
    if elements * bits % 8:
        raise malformed(f"{where}: its data must end with a whole byte; {elements} elements of {bits} bits do not")
    return elements * bits // 8


def _are_counts(value: Any) -> bool:
    # bool is an int to Python, and True no dimension.
    return isinstance(value, list) and all(type(item) is int and 0 <= item < ELEMENTS for item in value)


def _refuse_gaps(placed: list[_Placed], what: str, data_bytes: int) -> None:
    """The ranges must cover the data, each byte once: else the header is of another file."""
    start = _Placed(0, 0, Tensor(name="", dtype="U8", shape=(), bytes=0))
    for before, here in pairwise([start, *placed]):
        if here.begin != before.end:
            rule = "tensors must follow one another without gaps or overlaps"
            found = f"{shown(here.tensor.name)} begins at {here.begin} where the one before ends at {before.end}"
            raise malformed(f"{what}: {rule}; {found}")
    declared = placed[-1].end if placed else 0
    if declared != data_bytes:
        found = f"it describes {declared} bytes of {data_bytes}: is the download complete?"
        raise malformed(f"{what}: the header must describe the whole file; {found}")
