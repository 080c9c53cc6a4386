"""Where files of Debian packages are laid."""

from __future__ import annotations

import pytest
from image_builder.debian import merged
from local_cluster.problem import Problem


@pytest.mark.parametrize(
    ("member", "path"),
    [
        ("./lib/x86_64-linux-gnu/libc.so.6", "usr/lib/x86_64-linux-gnu/libc.so.6"),
        ("./lib64/ld-linux-x86-64.so.2", "usr/lib64/ld-linux-x86-64.so.2"),
        ("./usr/bin/python3.11", "usr/bin/python3.11"),
        ("/etc/os-release", "etc/os-release"),
    ],
)
def test_files_go_where_a_merged_system_has_them(member: str, path: str) -> None:
    assert merged(member) == path


def test_a_path_that_leads_out_of_the_root_is_refused() -> None:
    with pytest.raises(Problem, match="leads out of the root"):
        merged("./usr/../../etc/passwd")
