"""Models in folders: what counts, where links may lead, and that nothing large is read."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from kaito_controller.sources.errors import SourceError, Trouble
from kaito_controller.sources.folder import open_folder
from kaito_controller.sources.model_files import ModelFiles, WeightsFormat
from kaito_controller.sources.reading import read_model
from kaito_controller.testing.sources.checkpoints import (
    FIRST,
    LLAMA,
    SECOND,
    TINY_BYTES,
    safetensors,
    tiny_model,
    write,
)

CONFIG = json.dumps(LLAMA).encode()
COMMIT = "0123456789abcdef0123456789abcdef01234567"


async def read(folder: Path) -> ModelFiles:
    return await read_model(await open_folder(folder))


async def refusal(folder: Path) -> SourceError:
    with pytest.raises(SourceError) as caught:
        await read(folder)
    return caught.value


async def test_a_folder_is_read_without_any_network(tmp_path: Path):
    """Configuration, and the tensors of the shards that the index names."""
    model = await read(write(tmp_path, tiny_model()))
    assert model.config["architectures"] == ["LlamaForCausalLM"]
    assert model.generation_config == {"eos_token_id": 2}
    assert model.weight_files == ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    assert {tensor.name for tensor in model.tensors} == {*FIRST, *SECOND}
    assert model.weight_bytes == TINY_BYTES
    assert model.unsized == ""


@pytest.mark.parametrize("name", ["original/m.safetensors", "metal/m.safetensors", "onnx/m.safetensors"])
async def test_copies_in_subfolders_are_not_counted_twice(tmp_path: Path, name: str):
    """gpt-oss and Llama keep one there."""
    model = await read(write(tmp_path, tiny_model() | {name: safetensors(FIRST)}))
    assert model.weight_bytes == TINY_BYTES


async def test_both_formats_of_mistral_are_counted_once(tmp_path: Path):
    """With the index, and where only single files lie side by side."""
    model = await read(write(tmp_path / "sharded", tiny_model() | {"consolidated.safetensors": safetensors(FIRST)}))
    assert (model.weight_bytes, model.weights_format) == (TINY_BYTES, WeightsFormat.HUGGING_FACE)
    single = {"config.json": CONFIG, "model.safetensors": safetensors(FIRST), "consolidated.safetensors": b""}
    assert (await read(write(tmp_path / "single", single))).weight_files == ("model.safetensors",)


async def test_a_model_in_mistral_s_format_has_params_for_a_config(tmp_path: Path):
    """And its consolidated files."""
    files = {"params.json": b'{"dim": 8}', "consolidated-00001-of-00001.safetensors": safetensors(FIRST)}
    model = await read(write(tmp_path, files))
    assert (model.config, model.params) == ({"dim": 8}, {"dim": 8})
    assert (model.weights_format, model.weight_bytes) == (WeightsFormat.MISTRAL, 768)


async def test_a_tensor_in_two_files_is_in_memory_once(tmp_path: Path):
    """Without an index the engine loads all files; an adapter's are not among them."""
    half = {name: ("F16", shape) for name, (_, shape) in FIRST.items()}
    whole = {name: ("F32", shape) for name, (_, shape) in FIRST.items()}
    files = {
        "config.json": CONFIG,
        "model.safetensors": safetensors(half),
        "model.fp32.safetensors": safetensors(whole),
        "adapter_model.safetensors": safetensors(SECOND),
    }
    model = await read(write(tmp_path, files))
    assert {tensor.dtype for tensor in model.tensors} == {"F32"}
    assert model.weight_bytes == 2 * 768


async def test_an_index_must_find_its_files(tmp_path: Path):
    """A download that was not finished."""
    folder = write(tmp_path, tiny_model())
    (folder / "model-00002-of-00002.safetensors").unlink()
    error = await refusal(folder)
    assert "'model-00002-of-00002.safetensors' are not there" in str(error)


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (["pytorch_model-00001-of-00002.bin"], "are pickles, whose sizes nobody can read without running them"),
        (["model.Q4_K_M.gguf"], "have no header that is read here"),
        ([], "it has no weight files"),
    ],
)
async def test_weights_without_headers_have_no_size(tmp_path: Path, names: list[str], why: str):
    """The configuration is read all the same; nothing is unpickled."""
    model = await read(write(tmp_path, {"config.json": CONFIG, **dict.fromkeys(names, b"cos\nsystem\n(S'false'\ntR.")}))
    assert (model.tensors, model.weight_bytes) == ((), 0)
    assert why in model.unsized


async def test_what_is_no_model_is_told(tmp_path: Path):
    """No folder, a file, a folder of something else, an adapter."""
    assert (await refusal(tmp_path / "absent")).trouble is Trouble.MISSING
    assert "No such file or directory" in str(await refusal(tmp_path / "absent"))
    write(tmp_path, {"file": b"", "other/readme": b"", "adapter/adapter_config.json": b"{}"})
    assert "Not a directory" in str(await refusal(tmp_path / "file"))
    assert "a model has a config.json" in str(await refusal(tmp_path / "other"))
    assert "is a LoRA adapter" in str(await refusal(tmp_path / "adapter"))


async def test_a_config_of_two_gigabytes_is_not_read(tmp_path: Path):
    """Its size is enough to know."""
    folder = write(tmp_path, {"model.safetensors": safetensors(FIRST)})
    with (folder / "config.json").open("wb") as file:
        file.truncate(2 * 2**30)
    error = await refusal(folder)
    assert error.trouble is Trouble.TOO_LARGE
    assert "it has 2.0 GiB, so it is not read" in str(error)


async def test_a_shard_of_terabytes_costs_its_header(tmp_path: Path):
    """A sparse file: whoever reads it all does not come back."""
    size = 4 * 2**40
    header = json.dumps({"a": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    folder = write(tmp_path, {"config.json": CONFIG})
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + size)
    assert (await read(folder)).weight_bytes == size


async def test_a_pipe_is_no_file(tmp_path: Path):
    """To open one for reading would never end."""
    folder = write(tmp_path, tiny_model())
    os.mkfifo(folder / "params.json")
    assert (await read(folder)).params is None


async def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path):
    """Within it, one is."""
    secret = write(tmp_path / "elsewhere", {"config.json": CONFIG}) / "config.json"
    folder = write(tmp_path / "model", {"real.json": CONFIG, "model.safetensors": safetensors(FIRST)})
    (folder / "config.json").symlink_to(secret)
    assert "has neither" in str(await refusal(folder))
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to("real.json")
    assert (await read(folder)).weight_bytes == 768


def cached(root: Path, *, main: bool = True) -> Path:
    """A model as huggingface_hub keeps it: names in a snapshot, bytes in blobs."""
    home = root / "models--org--name"
    snapshot = home / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    for number, (name, content) in enumerate(tiny_model().items()):
        if "/" not in name:
            blob = write(home, {f"blobs/{number}": content}) / "blobs" / str(number)
            (snapshot / name).symlink_to(os.path.relpath(blob, snapshot))
    if main:
        write(home, {"refs/main": COMMIT.encode()})
    return home


@pytest.mark.parametrize("below", ["", f"snapshots/{COMMIT}"])
async def test_a_hub_s_cache_says_which_commit_it_holds(tmp_path: Path, below: str):
    """Its links lead to its own blobs, and are followed."""
    model = await read(cached(tmp_path) / below)
    assert (model.revision, model.weight_bytes) == (COMMIT, TINY_BYTES)


async def test_a_cache_without_its_main_branch_has_one_snapshot_or_none_is_meant(tmp_path: Path):
    """With one there is nothing to choose."""
    home = cached(tmp_path, main=False)
    assert (await read(home)).revision == COMMIT
    (home / "snapshots" / "other").mkdir()
    assert "found 2 snapshots and no refs/main" in str(await refusal(home))


async def test_the_revision_of_a_folder_follows_its_headers(tmp_path: Path):
    """The same files have the same one, others another."""
    one, same = await read(write(tmp_path / "a", tiny_model())), await read(write(tmp_path / "b", tiny_model()))
    other = await read(write(tmp_path / "c", tiny_model() | {"config.json": b"{}"}))
    assert one.revision.startswith("sha256:")
    assert one.revision == same.revision != other.revision


async def test_thousands_of_experts_are_counted(tmp_path: Path):
    """A reconcile keeps what was read of a model: a few lines of it, not hundred thousands."""
    names = [f"model.layers.{layer}.mlp.experts.{number}.up_proj.weight" for layer in (0, 1) for number in range(900)]
    experts = dict.fromkeys(names, ("U8", (4,)))
    model = await read(write(tmp_path, {"config.json": CONFIG, "model.safetensors": safetensors(experts)}))
    assert [(tensor.name, tensor.count) for tensor in model.tensors] == [
        ("model.layers.0.mlp.experts.*.up_proj.weight", 900),
        ("model.layers.1.mlp.experts.*.up_proj.weight", 900),
    ]
    assert model.weight_bytes == 2 * 900 * 4
