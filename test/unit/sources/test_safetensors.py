"""Headers of safetensors files: true ones are read, every kind of lie is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaito_controller.catalog.tensor import DTYPE_BITS, Tensor
from kaito_controller.sources.errors import SourceError, Trouble
from kaito_controller.sources.safetensors import (
    FORMAT_LIMIT_BYTES,
    HEADER_LIMIT_BYTES,
    LENGTH_BYTES,
    Header,
    header_length,
    parse_header,
    parse_index,
)
from kaito_controller.testing.sources.checkpoints import FIRST, header_of, packed, safetensors

INFO = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}
SHAPES = st.dictionaries(
    st.text(min_size=1, max_size=8).filter(lambda name: name != "__metadata__"),
    st.tuples(st.sampled_from(sorted(DTYPE_BITS)), st.lists(st.integers(0, 64), max_size=4).map(tuple)),
    max_size=6,
)


def read(file: bytes) -> Header:
    """As a reader of files does it."""
    length = header_length(file[:LENGTH_BYTES], what="m.safetensors", file_bytes=len(file))
    end = LENGTH_BYTES + length
    return parse_header(file[LENGTH_BYTES:end], what="m.safetensors", data_bytes=len(file) - end)


def refusal(file: bytes) -> SourceError:
    with pytest.raises(SourceError) as caught:
        read(file)
    return caught.value


def test_tensors_come_in_the_order_of_their_data():
    """With dtype, shape and bytes; the writer's own texts are kept apart."""
    header = read(safetensors(FIRST, {"format": "pt"}))
    assert header.metadata == {"format": "pt"}
    assert header.tensors == (
        Tensor(name="model.embed_tokens.weight", dtype="BF16", shape=(32, 8), bytes=512),
        Tensor(name="model.layers.0.mlp.up_proj.weight", dtype="BF16", shape=(16, 8), bytes=256),
    )


def test_empty_and_padded_files_are_files():
    """No tensors, a scalar, a tensor without elements, spaces behind the JSON."""
    assert read(packed(b"{}      ", 0)).tensors == ()
    assert [one.bytes for one in read(safetensors({"a": ("F32", ()), "b": ("I8", (0, 7))})).tensors] == [4, 0]


@pytest.mark.parametrize(
    ("changes", "data_bytes", "why"),
    [
        ({"dtype": "F3"}, 16, "tensor 'a': dtype must be one of F4,"),
        ({"dtype": ["F32"]}, 16, "found a list of 1"),
        ({"shape": [2, 3]}, 16, "F32 of shape [2, 3] takes 24 bytes, found 16"),
        ({"shape": [-2, -2]}, 16, "shape must be up to 16 whole numbers from 0"),
        ({"shape": [True, 4]}, 16, "shape must be up to 16 whole numbers from 0"),
        ({"shape": [2.0, 2]}, 16, "shape must be up to 16 whole numbers from 0"),
        ({"shape": [1] * 17}, 16, "shape must be up to 16 whole numbers from 0"),
        ({"shape": [2**40, 2**40]}, 16, "fewer than 2**63 elements"),
        ({"shape": [2**62, 2**62, 0]}, 16, "fewer than 2**63 elements"),
        ({"shape": [10**4000]}, 16, "shape must be up to 16 whole numbers from 0"),
        ({"dtype": "F4", "shape": [3], "data_offsets": [0, 1]}, 1, "must end with a whole byte"),
        ({"data_offsets": [16, 0]}, 16, "must be a begin and an end, not before it"),
        ({"data_offsets": [0]}, 16, "must be a begin and an end"),
        ({"data_offsets": [4, 20]}, 20, "'a' begins at 4 where the one before ends at 0"),
        ({}, 17, "it describes 16 bytes of 17"),
        ({}, 15, "it describes 16 bytes of 15"),
    ],
)
def test_a_tensor_that_cannot_be_is_refused(changes: dict[str, Any], data_bytes: int, why: str):
    """Each rule of the format."""
    error = refusal(packed({"a": INFO | changes}, data_bytes))
    assert error.trouble is Trouble.MALFORMED
    assert why in str(error)


def test_tensors_may_not_overlap_nor_leave_gaps():
    """Else bytes would be counted twice, or not at all."""
    overlap = {"a": INFO, "b": INFO | {"data_offsets": [8, 24]}}
    assert "'b' begins at 8 where the one before ends at 16" in str(refusal(packed(overlap, 24)))
    gap = {"a": INFO, "b": INFO | {"data_offsets": [20, 36]}}
    assert "'b' begins at 20 where the one before ends at 16" in str(refusal(packed(gap, 36)))


def test_a_tensor_may_not_be_written_twice():
    """JSON decoders differ on which one counts."""
    one = json.dumps(INFO)
    assert "found 'a' twice" in str(refusal(packed(f'{{"a": {one}, "a": {one}}}'.encode(), 16)))


@pytest.mark.parametrize("header", [b"", b" {}", b"[]", b"{", b'{"a": 1}', b'{"a": {}}', b'{"__metadata__": {"a": 1}}'])
def test_what_is_no_header_is_refused(header: bytes):
    """Also a header of another form."""
    assert refusal(packed(header, 0)).trouble is Trouble.MALFORMED


@pytest.mark.parametrize(
    ("length", "file_bytes", "trouble", "why"),
    [
        (2**64 - 1, 100, Trouble.MALFORMED, "at most 100000000 bytes"),
        (FORMAT_LIMIT_BYTES + 1, 2**40, Trouble.MALFORMED, "this is no safetensors file"),
        (93, 100, Trouble.MALFORMED, "it says 93 bytes of 100"),
        (HEADER_LIMIT_BYTES + 1, 2**40, Trouble.TOO_LARGE, "headers of up to 16.0 MiB are read"),
    ],
)
def test_a_header_that_lies_about_its_length_is_not_read(length: int, file_bytes: int, trouble: Trouble, why: str):
    """The length is believed only within the file and the bounds."""
    with pytest.raises(SourceError, match=why) as caught:
        header_length(length.to_bytes(8, "little"), what="m.safetensors", file_bytes=file_bytes)
    assert caught.value.trouble is trouble


def test_a_file_of_a_few_bytes_is_refused():
    """Such as an empty download."""
    assert "found 3 bytes in all" in str(refusal(b"abc"))


@given(SHAPES)
def test_every_true_header_is_read(shapes: dict[str, tuple[str, tuple[int, ...]]]):
    """Whatever dtypes and shapes: the sizes add up to the file."""
    whole = {
        name: (dtype, shape) for name, (dtype, shape) in shapes.items() if _elements(shape) * DTYPE_BITS[dtype] % 8 == 0
    }
    file = safetensors(whole)
    header = read(file)
    assert {one.name: (one.dtype, one.shape) for one in header.tensors} == whole
    assert len(file) == 8 + int.from_bytes(file[:8], "little") + sum(one.bytes for one in header.tensors)


@given(SHAPES, st.data())
def test_a_changed_header_is_read_to_its_end_or_refused(shapes: dict[str, tuple[str, tuple[int, ...]]], data: Any):
    """Bytes put in, taken out and replaced: what is still read describes the file to the last byte."""
    raw = bytearray(json.dumps(header_of(shapes)).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(raw)))
        raw[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    size = data.draw(st.integers(0, 4096))
    try:
        header = parse_header(bytes(raw), what="m.safetensors", data_bytes=size)
    except SourceError as error:
        str(error).encode()
    else:
        assert sum(one.bytes for one in header.tensors) == size


@given(st.binary(max_size=200))
def test_no_bytes_end_otherwise(file: bytes):
    """Whatever is there: a header or a refusal."""
    try:
        read(file)
    except SourceError as error:
        str(error).encode()


def test_an_index_names_the_files_that_count():
    """Each once, sorted."""
    index = parse_index(b'{"weight_map": {"b": "y.safetensors", "a": "x.safetensors", "c": "x.safetensors"}}', what="i")
    assert (index.files, index.tensor_count) == (("x.safetensors", "y.safetensors"), 3)


@pytest.mark.parametrize(
    "raw",
    [
        b"{}",
        b'{"weight_map": {}}',
        b'{"weight_map": []}',
        b'{"weight_map": {"a": 1}}',
        b'{"weight_map": {"a": "../x.safetensors"}}',
        b'{"weight_map": {"a": "x.bin"}}',
    ],
)
def test_an_index_of_another_form_is_refused(raw: bytes):
    """Also one that leads out of the folder."""
    with pytest.raises(SourceError, match="weight_map"):
        parse_index(raw, what="i")


def _elements(shape: tuple[int, ...]) -> int:
    elements = 1
    for dimension in shape:
        elements *= dimension
    return elements
