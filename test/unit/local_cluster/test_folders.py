"""Where things lie follows the environment, and a disk that is too small is said before it is full."""

from __future__ import annotations

from pathlib import Path

import pytest
from local_cluster.folders import cache_folder, require_room, state_folder
from local_cluster.problem import Problem


def test_own_variables_win_over_xdg_and_home() -> None:
    """KAITO_* names the folder itself, XDG_* the one above, and without both it is in the home folder."""
    home = {"HOME": "/h"}
    assert cache_folder(home) == Path("/h/.cache/kaito")
    assert state_folder(home) == Path("/h/.local/state/kaito")
    assert cache_folder({**home, "XDG_CACHE_HOME": "/x"}) == Path("/x/kaito")
    assert state_folder({**home, "XDG_STATE_HOME": "/x", "KAITO_STATE": "/s"}) == Path("/s")


def test_a_disk_that_is_too_small_is_refused_with_the_remedy(tmp_path: Path) -> None:
    """The message names what is needed, where, and which variable points elsewhere; the folder need not exist yet."""
    require_room(tmp_path / "not" / "there", 0.0, "nothing")
    with pytest.raises(Problem, match=r"a dream needs 1e\+09 GiB of free disk space and .* point KAITO_STATE to"):
        require_room(tmp_path / "not" / "there", 1e9, "a dream", environment_variable="KAITO_STATE")
