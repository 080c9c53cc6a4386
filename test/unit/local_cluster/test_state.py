"""The state folder of a cluster: names, lock, document and removal."""

from __future__ import annotations

from pathlib import Path

import pytest
from local_cluster.problem import Problem
from local_cluster.state import ClusterState


@pytest.fixture
def state(tmp_path: Path) -> ClusterState:
    """The state of a cluster in a folder that does not exist yet."""
    return ClusterState(name="x", folder=tmp_path / "state" / "clusters" / "x")


@pytest.mark.parametrize("name", ["", "A", "-a", "a-", "a_b", "a/b", "..", "a" * 31])
def test_names_that_folders_and_links_cannot_have_are_refused(name: str) -> None:
    """The message repeats the name and says the rule."""
    with pytest.raises(Problem, match="is no name for a cluster"):
        ClusterState.of(name)


def test_a_document_that_is_torn_counts_as_none(state: ClusterState) -> None:
    """What a crash left half written is not taken for a cluster."""
    assert state.read() is None
    state.write({"name": "x"})
    assert state.read() == {"name": "x"}
    state.document_path.write_text('{"name": ')
    assert state.read() is None


def test_the_lock_keeps_a_second_call_out(state: ClusterState) -> None:
    """While one call is at work another is refused; afterwards it is let in."""
    with state.locked():
        assert state.folder.is_dir()
        with pytest.raises(Problem, match="another hack/cluster is at work on the cluster 'x'"), state.locked():
            pass
    with state.locked():
        pass


def test_removal_under_the_lock_leaves_nothing_and_frees_it(state: ClusterState, tmp_path: Path) -> None:
    """The folder and the empty ones above it are gone, and the next call gets a folder and a lock of its own."""
    with state.locked():
        state.write({"name": "x"})
        state.remove()
        with state.locked():
            assert state.folder.is_dir()
            state.remove()
    assert list(tmp_path.iterdir()) == []


def test_removal_spares_the_neighbours(state: ClusterState) -> None:
    """Another cluster's folder stays."""
    other = ClusterState(name="y", folder=state.folder.parent / "y")
    other.write({"name": "y"})
    state.write({"name": "x"})
    state.remove()
    assert other.read() == {"name": "y"}
    assert not state.folder.exists()


def test_keeping_the_logs_keeps_nothing_else(state: ClusterState) -> None:
    """After a failed start only the logs are there; without logs, nothing."""
    state.write({"name": "x"})
    logs = state.folder / "logs"
    logs.mkdir()
    (logs / "etcd.log").write_text("said")
    state.keep_only("logs")
    assert [path.name for path in state.folder.iterdir()] == ["logs"]
    state.keep_only("nothing")
    assert not state.folder.exists()
