"""How a long command says what it is doing."""

from __future__ import annotations

import io

import pytest
from local_cluster.phases import Phases


def test_a_phase_is_timed_and_told() -> None:
    """A phase that ends well is remembered with its seconds and leaves one line."""
    phases = Phases(stream=io.StringIO())
    with phases.phase("cluster"):
        phases.waits_for("the API server")
    assert [phase.name for phase in phases.finished] == ["cluster"]
    assert phases.finished[0].seconds >= 0
    assert "the API server" in phases.stream.getvalue()
    assert "done cluster" in phases.stream.getvalue()


def test_a_phase_that_fails_is_told_and_not_remembered() -> None:
    """The error goes on, and the line names the phase it happened in."""
    phases = Phases(stream=io.StringIO())
    with pytest.raises(OSError, match="no space"), phases.phase("build"):
        raise OSError("no space left")
    assert phases.finished == []
    assert "failed build" in phases.stream.getvalue()


def test_what_is_awaited_is_told_once() -> None:
    """A log gets a line when what is awaited changes, not one a look."""
    phases = Phases(stream=io.StringIO())
    with phases.phase("workspace"):
        for _ in range(3):
            phases.waits_for("a node")
    assert phases.stream.getvalue().count("a node") == 1
