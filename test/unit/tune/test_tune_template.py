from __future__ import annotations

from pathlib import Path

import pytest

from inference_server.refusal import InputError
from inference_server.tune import template_file


def test_a_template_is_the_value_or_in_a_file(tmp_path: Path):
    (tmp_path / "x.jinja").write_text("{{ messages }}é")
    assert template_file.read("{{ a }}", tmp_path) == "{{ a }}"
    assert template_file.read(str(tmp_path / "x.jinja"), tmp_path) == "{{ messages }}é"


@pytest.mark.parametrize("value", ["none", "../passwd", "link", "latin"])
def test_a_file_that_holds_none_is_refused(tmp_path: Path, value: str):
    mounts = tmp_path / "mnt"
    mounts.mkdir()
    (tmp_path / "passwd").write_text("root")
    (mounts / "link").symlink_to(tmp_path / "passwd")
    (mounts / "latin").write_bytes(b"\xe9")
    with pytest.raises(InputError, match="chat_template"):
        template_file.read(f"{mounts}/{value}", mounts)


def test_a_template_longer_than_the_limit_was_cut_without_a_word(tmp_path: Path):
    (tmp_path / "x.jinja").write_text(" " * template_file.MAX_BYTES + "x")
    with pytest.raises(InputError, match="at most"):
        template_file.read(str(tmp_path / "x.jinja"), tmp_path)
