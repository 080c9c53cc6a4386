"""What is said of a base image that cannot carry ours."""

from __future__ import annotations

from pathlib import Path

import pytest
from image_builder.base_image import problems

DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize("name", ["", "python:3.11", f"python:3.11@{DIGEST[:-1]}", "python@sha512:" + "0" * 128])
def test_a_base_image_without_digest_is_refused_with_the_remedy(name: str) -> None:
    (said,) = problems({"BASE_IMAGE": name}, (3, 11), compiler=False)
    assert repr(name) in said
    assert "--build-arg BASE_IMAGE=REPOSITORY@sha256:DIGEST" in said


def test_a_base_image_with_digest_and_the_right_python_will_do() -> None:
    assert list(problems({"BASE_IMAGE": f"registry.example/python:3.11@{DIGEST}"}, (3, 11), compiler=False)) == []


def test_another_python_is_refused_since_the_locks_are_not_for_it() -> None:
    (said,) = problems({"BASE_IMAGE": f"python@{DIGEST}"}, (3, 12), compiler=False)
    assert "found 3.12" in said


def test_a_base_image_without_a_compiler_is_refused_where_triton_needs_one(tmp_path: Path) -> None:
    (said,) = problems({"BASE_IMAGE": f"python@{DIGEST}", "PATH": str(tmp_path)}, (3, 11), compiler=True)
    assert "C compiler" in said
