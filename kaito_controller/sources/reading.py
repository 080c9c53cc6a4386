"""Reads a model from its files: the small ones whole, of the weights only the headers."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final, TypeVar

from attrs import define, field

from kaito_controller.catalog.tensor import Tensor, grouped
from kaito_controller.sources.errors import SourceError, Trouble, too_large
from kaito_controller.sources.files import Files
from kaito_controller.sources.json_text import decode_object
from kaito_controller.sources.model_files import (
    CONFIG,
    GENERATION_CONFIG,
    INDEXES,
    PARAMS,
    QUANTISATION_CONFIG,
    ModelFiles,
    WeightsFormat,
    is_adapter,
    unsized,
    weight_files,
    weights_format,
)
from kaito_controller.sources.safetensors import (
    INDEX_LIMIT_BYTES,
    LENGTH_BYTES,
    Index,
    header_length,
    parse_header,
    parse_index,
)
from kaito_controller.sources.wording import shown, size_text

CONFIG_LIMIT_BYTES: Final = 2**20
"""The largest published config.json, which names every layer of a mixed quantisation, has some 300 KiB."""
FIRST_BYTES: Final = 128 * 2**10
"""Read of each file at first: the whole header of a usual shard, so that one request does."""
SHARDS: Final = 1000
"""The largest published model has 163."""
TENSORS: Final = 500_000
"""The most that a published model has, 512 experts of 12 packed tensors in each of 60 layers, is some 370,000."""
HEADERS_BYTES: Final = 64 * 2**20
DECODING: Final = threading.Lock()
"""A header of 16 MiB that somebody made to do harm takes 400 MiB while it is decoded: one at a time."""
IN_A_THREAD_BYTES: Final = 2**15
"""From here on decoding takes milliseconds, for which the operator's other work is not held up."""
AT_ONCE: Final = 8
"""Headers read at a time."""

A = TypeVar("A")
B = TypeVar("B")


async def read_model(files: Files) -> ModelFiles:
    """What the files say.

    Raises:
        SourceError: they are no model, break a rule or a bound, or could not be read.
    """
    reader = _Reader(files)
    names = files.sizes.keys()
    chosen = weights_format(names)
    params = await reader.optional(PARAMS)
    config = await reader.optional(CONFIG)
    config = params if config is None else config
    if config is None:
        raise _no_model(files)
    index = await reader.index(chosen)
    shards = weight_files(names, chosen, index, what=reader.what)
    tensors = await reader.tensors(shards)
    return ModelFiles(
        model_id=files.model_id,
        revision=files.revision or reader.digest(),
        source=files.source,
        config=config,
        generation_config=await reader.optional(GENERATION_CONFIG),
        params=params if chosen is WeightsFormat.MISTRAL or config is params else None,
        quantisation=None if "quantization_config" in config else await reader.optional(QUANTISATION_CONFIG),
        weights_format=chosen,
        weight_files=shards,
        tensors=tensors,
        unsized="" if shards else unsized(names),
    )


@define
class _Reader:
    """The files, and a digest of what was read of each: a folder's revision."""

    files: Files
    _digests: dict[str, str] = field(init=False, factory=dict)
    _header_bytes: int = field(init=False, default=0)

    @property
    def what(self) -> str:
        """The model, as messages call it."""
        return self.files.model_id

    def digest(self) -> str:
        """A digest of all that was read."""
        lines = "".join(f"{name} {digest}\n" for name, digest in sorted(self._digests.items()))
        return f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"

    async def optional(self, name: str) -> dict[str, Any] | None:
        """A small JSON file; None when there is none."""
        if name not in self.files.sizes:
            return None
        return decode_object(await self._whole(name, CONFIG_LIMIT_BYTES), what=self._called(name))

    async def index(self, chosen: WeightsFormat) -> Index | None:
        """The index of the weight files; None when there is none."""
        name = INDEXES[chosen]
        if name not in self.files.sizes:
            return None
        raw = await self._whole(name, INDEX_LIMIT_BYTES)
        return await _aside(len(raw), lambda: parse_index(raw, what=self._called(name)))

    async def tensors(self, shards: Sequence[str]) -> tuple[Tensor, ...]:
        """Those of all files. One that several files hold is in memory once, in its larger form."""
        if len(shards) > SHARDS:
            raise too_large(f"{self.what}: up to {SHARDS} weight files are read; found {len(shards)}")
        found: dict[str, Tensor] = {}
        for tensors in await each(shards, self._header):
            for tensor in tensors:
                known = found.get(tensor.name)
                if known is None or known.bytes < tensor.bytes:
                    found[tensor.name] = tensor
            if len(found) > TENSORS:
                raise too_large(f"{self.what}: up to {TENSORS} tensors are read; found more")
        return grouped(found.values())

    async def _header(self, name: str) -> tuple[Tensor, ...]:
        size, what = self.files.sizes[name], self._called(name)
        start = await self.files.part(name, 0, min(FIRST_BYTES, size))
        length = header_length(start, what=what, file_bytes=size)
        self._header_bytes += length
        if self._header_bytes > HEADERS_BYTES:
            raise too_large(f"{self.what}: headers of up to {size_text(HEADERS_BYTES)} in all are read; found more")
        header = start[LENGTH_BYTES : LENGTH_BYTES + length]
        missing = length - len(header)
        if missing > 0:
            header += await self.files.part(name, len(start), missing)
        if len(header) < length:
            raise SourceError(Trouble.UNREACHABLE, f"{what}: its header has {length} bytes; only {len(header)} came")
        self._digests[name] = hashlib.sha256(header).hexdigest()
        data_bytes = size - LENGTH_BYTES - length
        return (await _aside(length, lambda: parse_header(header, what=what, data_bytes=data_bytes))).tensors

    async def _whole(self, name: str, limit_bytes: int) -> bytes:
        size = self.files.sizes[name]
        if size > limit_bytes:
            rule = f"is read up to {size_text(limit_bytes)}"
            raise too_large(f"{self._called(name)}: {rule}; it has {size_text(size)}, so it is not read")
        raw = await self.files.whole(name, limit_bytes)
        self._digests[name] = hashlib.sha256(raw).hexdigest()
        return raw

    def _called(self, name: str) -> str:
        return f"{self.what}, {name}"


async def _aside(size: int, work: Callable[[], A]) -> A:
    """What a piece of work comes to, done in a thread when its input is large."""
    if size < IN_A_THREAD_BYTES:
        return work()

    def alone() -> A:
        with DECODING:
            return work()

    return await asyncio.to_thread(alone)


async def each(items: Iterable[A], work: Callable[[A], Awaitable[B]], at_once: int = AT_ONCE) -> list[B]:
    """What a piece of work comes to for each item, in their order; the first failure ends the others.

    Raises:
        SourceError: one of them failed.
    """
    gate = asyncio.Semaphore(at_once)

    async def one(item: A) -> B:
        async with gate:
            return await work(item)

    try:
        async with asyncio.TaskGroup() as running:
            tasks = [running.create_task(one(item)) for item in items]
    except BaseExceptionGroup as group:
        failures, others = group.split(SourceError)
        if failures is None or others is not None:
            raise
        raise _first(failures) from None
    return [task.result() for task in tasks]


def _first(group: BaseExceptionGroup[SourceError]) -> BaseException:
    inner: BaseException = group
    while isinstance(inner, BaseExceptionGroup):
        inner = inner.exceptions[0]
    return inner


def _no_model(files: Files) -> SourceError:
    if is_adapter(files.sizes):
        text = "is a LoRA adapter, not a model: name its base model here, and the adapter under inference.adapters"
        return SourceError(Trouble.UNSUPPORTED, f"{shown(files.model_id)} {text}")
    rule = f"a model has a {CONFIG}, or a {PARAMS} in the Mistral format"
    return SourceError(Trouble.MISSING, f"{shown(files.model_id)}: {rule}; {files.source} has neither")
