"""Uncompressed archives, walked by their headers: the same files as Python's own reader finds, wherever they lie."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaito_controller.sources.errors import SourceError, Trouble
from kaito_controller.sources.oci.archive import BLOCK, Member, members

NAMES = st.text(alphabet=st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1, max_size=160)


def packed(files: Sequence[tuple[str, bytes]], form: int = tarfile.PAX_FORMAT) -> bytes:
    """An archive of some files."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as archive:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


class Blob:
    """Bytes that are read in parts, and how often they were."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.spans: list[tuple[int, int]] = []

    async def read(self, start: int, length: int) -> bytes:
        self.spans.append((start, length))
        return self.content[start : start + length]


async def walked(content: bytes) -> list[Member]:
    return await members(Blob(content).read, len(content), what="layer")


async def refusal(content: bytes, size: int | None = None) -> SourceError:
    with pytest.raises(SourceError) as caught:
        await members(Blob(content).read, len(content) if size is None else size, what="layer")
    return caught.value


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
async def test_files_are_where_they_are_said_to_be(form: int):
    """In each format that container tools write."""
    files = [("models/config.json", b"{}"), ("models/model.safetensors", b"x" * 5000), ("models/empty", b"")]
    content = packed(files, form)
    found = await walked(content)
    assert [(one.path, content[one.start : one.start + one.size]) for one in found] == files


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@given(st.lists(st.tuples(NAMES, st.binary(max_size=1500)), max_size=5))
async def test_names_may_be_long_and_of_any_letters(form: int, files: list[tuple[str, bytes]]):
    """As Python's reader has them."""
    content = packed(files, form)
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        expected = [(one.name, one.offset_data, one.size) for one in archive if one.isreg()]
    assert [(one.path, one.start, one.size) for one in await walked(content)] == expected


async def test_only_headers_are_read():
    """One request for each large file, however large it is, and one for many small ones."""
    files = [*((f"small-{number}", b"x") for number in range(10)), ("large", b"y" * 10**6), ("last", b"z")]
    blob = Blob(packed(files))
    assert len(await members(blob.read, len(blob.content), what="layer")) == 12
    assert len(blob.spans) == 2
    assert sum(length for _, length in blob.spans) < 40_000


async def test_a_file_of_more_than_eight_gigabytes_has_its_size():
    """Octal digits do not do for that: GNU writes it in base 256, pax in a record."""
    size = 9 * 2**30
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        info = tarfile.TarInfo("model.safetensors")
        info.size = size
        head = info.tobuf(form)
        [found] = await members(Blob(head).read, len(head) + size, what="layer")
        assert (found.path, found.start, found.size) == ("model.safetensors", len(head), size)


async def test_folders_links_and_devices_are_no_files():
    """Nor is what their headers say of a size."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for kind in (tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
            info = tarfile.TarInfo(f"of-type-{kind.decode()}")
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
        archive.addfile(tarfile.TarInfo("file"))
    assert [one.path for one in await walked(stream.getvalue())] == ["file"]


async def test_what_is_no_archive_is_refused():
    """Also one that is only called so."""
    assert "must be a tar archive; no header at byte 0" in str(await refusal(b"\x1f\x8b" + b"x" * 600))


@pytest.mark.parametrize("size", [10**15, 2**62])
async def test_a_file_beyond_the_archive_is_refused(size: int):
    """A size in base 256 may be anything."""
    info = tarfile.TarInfo("x")
    info.size = size
    assert "must lie within its archive" in str(await refusal(info.tobuf(tarfile.GNU_FORMAT)))


async def test_sparse_files_are_refused():
    """Their sizes are not those of their data."""
    info = tarfile.TarInfo("x")
    info.type = tarfile.GNUTYPE_SPARSE
    assert (await refusal(info.tobuf(tarfile.GNU_FORMAT))).trouble is Trouble.UNSUPPORTED


async def test_more_entries_than_are_looked_at_are_refused():
    """An operating system's layer, or an attack."""
    head = tarfile.TarInfo("x").tobuf()

    async def endless(_: int, length: int) -> bytes:
        return (head * (length // BLOCK + 1))[:length]

    with pytest.raises(SourceError, match=r"archives of up to 20000 entries are read|2000 requests must do") as caught:
        await members(endless, 2**50, what="layer")
    assert caught.value.trouble is Trouble.TOO_LARGE


NO_RECORDS = [b"x", b"5 a=b\n", b"999 a=b\n", b"6 ab\n\n", b"13 size=-100\n", b"14 size=1e400\n"]


@pytest.mark.parametrize("records", NO_RECORDS)
async def test_pax_records_of_another_form_are_refused(records: bytes):
    """LENGTH KEY=VALUE, and sizes are numbers."""
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, len(records)
    content = info.tobuf() + records.ljust(BLOCK, b"\0") + tarfile.TarInfo("y").tobuf()
    assert (await refusal(content)).trouble is Trouble.MALFORMED


@given(st.data())
async def test_changed_archives_are_read_or_refused(data: st.DataObject):
    """Whatever was changed, in a bounded number of steps."""
    content = bytearray(packed([("a" * 120, b"x" * 700), ("b", b"")], data.draw(st.sampled_from([1, 2]))))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
        if data.draw(st.booleans()):
            block = at // BLOCK * BLOCK
            _sign(content, block)
    try:
        for member in await walked(bytes(content)):
            assert member.start + member.size <= len(content)
    except SourceError as error:
        str(error).encode()


def _sign(content: bytearray, at: int) -> None:
    """Give a changed header the checksum that makes it count."""
    header = bytes(content[at : at + BLOCK])
    content[at + 148 : at + 156] = b"%06o\0 " % (256 + sum(header[:148]) + sum(header[156:BLOCK]))
