from __future__ import annotations

import json
from pathlib import Path

import pytest

from inference_server.tune import checkpoint


def written(folder: Path, step: int, *, sealed: bool = True) -> Path:
    one = folder / f"checkpoint-{step}"
    one.mkdir(parents=True)
    (one / "adapter_model.safetensors").write_bytes(b"weights")
    (one / "optimizer.pt").write_bytes(b"state")
    if sealed:
        checkpoint.seal(one)
    return one


def test_the_newest_whole_one_is_found(tmp_path):
    for step in (20, 100, 9):
        written(tmp_path, step)
    assert checkpoint.newest_whole(tmp_path) == tmp_path / "checkpoint-100"


@pytest.mark.parametrize("harm", ["unsealed", "short", "missing", "foreign file", "no list", "pickle"])
def test_what_an_eviction_or_a_stranger_left_is_not_gone_on_from(tmp_path, harm):
    good, bad = written(tmp_path, 1), written(tmp_path, 2, sealed=harm != "unsealed")
    if harm == "short":
        (bad / "optimizer.pt").write_bytes(b"sta")
    elif harm == "missing":
        (bad / "optimizer.pt").unlink()
    elif harm == "foreign file":
        (bad / "scheduler.pt").write_bytes(b"")
    elif harm == "no list":
        (bad / "whole.json").write_text("[1")
    elif harm == "pickle":
        (bad / "adapter_model.bin").write_bytes(b"")
        checkpoint.seal(bad)
    assert checkpoint.newest_whole(tmp_path) == good
    checkpoint.remove_broken(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-1"]


def test_without_any_there_is_nothing_to_go_on_from(tmp_path):
    assert checkpoint.newest_whole(tmp_path / "none") is None
    (tmp_path / "checkpoint-last").mkdir()
    assert checkpoint.newest_whole(tmp_path) is None


def test_runs_keep_their_checkpoints_apart(tmp_path):
    mine, other = (checkpoint.folder_of(tmp_path, digest * 64) for digest in "ab")
    written(mine, 3)
    written(other, 4)
    assert checkpoint.newest_whole(mine) == mine / "checkpoint-3"
    checkpoint.remove_all(mine)
    assert checkpoint.newest_whole(other) is not None
    checkpoint.remove_all(other)
    assert list(tmp_path.iterdir()) == []


def test_a_seal_lists_every_file(tmp_path):
    one = written(tmp_path, 1)
    assert set(json.loads((one / "whole.json").read_text())) == {"adapter_model.safetensors", "optimizer.pt"}
