"""What is packed is unpacked again, and the same content is always the same bytes."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_server.files.errors import FetchError, Kind
from inference_server.files.limits import Limits
from inference_server.files.oci.packing import pack
from inference_server.files.oci.root import Root

NAME = st.text(alphabet="abcäÄ .-_", min_size=1, max_size=120).map(lambda text: f"f{text}")
FILES = st.dictionaries(
    st.lists(NAME, min_size=1, max_size=3).map("/".join), st.binary(max_size=200), min_size=1, max_size=5
)


@given(FILES)
def test_any_files_come_out_as_they_went_in_and_always_as_the_same_image(files):
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as out:
        written = {}
        for name, content in files.items():
            path = Path(one, name)
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            except (FileExistsError, NotADirectoryError, IsADirectoryError):
                continue  # one file's folder has the name of another file
            written[name] = content
        written = {name: content for name, content in written.items() if Path(one, name).is_file()}
        packed = pack(Path(one), list(written), Path(out, "layer"), {"a": "b"}, "image")
        for name in written:
            os.utime(Path(one, name), (5, 5))
        again = pack(Path(one), [*reversed(list(written)), *written], Path(out, "again"), {"a": "b"}, "image")
        assert (packed.digest, packed.layer_digest, packed.config) == (again.digest, again.layer_digest, again.config)
        root = Root(folder=Path(out, "root"), only=("data",), limits=Limits(), subject="image")
        root.folder.mkdir()
        root.apply(packed.layer, is_gzip=True)
        root.finish()
        data = root.folder / "data"
        found = {str(path.relative_to(data)): path.read_bytes() for path in data.rglob("*") if path.is_file()}
        assert found == written


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "none", "folder", "link", "a/../../secret"])
def test_only_plain_files_of_the_folder_are_packed(tmp_path, name):
    folder = tmp_path / "result"
    (folder / "folder").mkdir(parents=True)
    (folder / "link").symlink_to("/etc/passwd")
    (tmp_path / "secret").write_text("mine")
    with pytest.raises(FetchError) as caught:
        pack(folder, [name], tmp_path / "layer", {}, "image")
    assert caught.value.kind is Kind.INVALID


def test_nothing_is_no_image(tmp_path):
    with pytest.raises(FetchError) as caught:
        pack(tmp_path, [], tmp_path / "layer", {}, "image")
    assert caught.value.kind is Kind.INVALID
