"""What is refused of an adapter before the engine sees it, and in which words."""

from __future__ import annotations

import json
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference_server.agent import adapter_config, base_model, tensor_file
from inference_server.agent.adapter_config import AdapterConfig
from inference_server.agent.base_model import BaseModel
from inference_server.agent.inspection import Checks
from inference_server.agent.refusal import AdapterRefusedError, Reason
from inference_server.agent.tensor_file import TensorFileError
from kaito_controller.testing import adapter_files
from kaito_controller.testing.adapter_files import LAYER, lora
from kaito_controller.testing.sources.checkpoints import safetensors

BASE = BaseModel(names=("tiny-phi3",), shapes={LAYER: (128, 128)}, hidden_size=128)
CHECKS = Checks(find_base=lambda: BASE, max_rank=16)


def refusal(folder: Path, checks: Checks = CHECKS, **annotations: str) -> AdapterRefusedError:
    with pytest.raises(AdapterRefusedError) as caught:
        checks.inspect(folder, {f"sh.kaito.model.{key}": value for key, value in annotations.items()})
    return caught.value


def test_what_peft_writes_is_accepted(tmp_path: Path):
    found = CHECKS.inspect(adapter_files.write(tmp_path / "a"))
    assert (found.config.highest_rank, found.modules) == (8, (LAYER,))


@pytest.mark.parametrize(
    ("config", "reason", "told"),
    [
        ({"peft_type": "LOHA"}, Reason.UNSUPPORTED, "peft_type is 'LOHA'; only LORA"),
        ({"use_dora": True}, Reason.UNSUPPORTED, "use_dora is set, and the engine has no DoRA"),
        ({"bias": "all"}, Reason.UNSUPPORTED, "bias is 'all'"),
        ({"modules_to_save": ["lm_head"]}, Reason.UNSUPPORTED, "whole modules"),
        ({"init_lora_weights": "pissa"}, Reason.UNSUPPORTED, "path_initial_model_for_weight_conversion"),
        ({"layer_replication": [[0, 1]]}, Reason.UNSUPPORTED, "replicated layers"),
        ({"r": 0}, Reason.FILES_INVALID, "r is 0 and no rank"),
        ({"r": True}, Reason.FILES_INVALID, "r is True"),
        ({"lora_alpha": "16"}, Reason.FILES_INVALID, "lora_alpha is '16'"),
        ({"rank_pattern": {"(a+)+$": 4}}, Reason.FILES_INVALID, "no regular expressions"),
        ({"rank_pattern": [1]}, Reason.FILES_INVALID, "rank_pattern is [1]"),
        ({"base_model_name_or_path": "mistralai/Mistral-7B-v0.3"}, Reason.WRONG_BASE_MODEL, "made for mistralai/"),
    ],
)
def test_configs_that_are_refused(tmp_path: Path, config: dict[str, Any], reason: Reason, told: str):
    found = refusal(adapter_files.write(tmp_path / "a", tensors=lora(), **config))
    assert found.reason is reason
    assert told in str(found)


@pytest.mark.parametrize(
    ("tensors", "reason", "told"),
    [
        ({}, Reason.FILES_INVALID, "holds no weights"),
        (lora(rank=4), Reason.FILES_INVALID, "have ranks 4 and 4, and the config says 8"),
        (dict(list(lora().items())[:1]), Reason.FILES_INVALID, "only half of its weights"),
        (lora(out=64), Reason.WRONG_BASE_MODEL, "maps 128 to 64 numbers and the base model's maps 128 to 128"),
        (lora("model.layers.9.self_attn.o_proj", into=4096), Reason.WRONG_BASE_MODEL, "does not fit"),
        ({"base_model.model.lm_head.weight": ("F32", (8, 8))}, Reason.UNSUPPORTED, "is no LoRA weight"),
        ({"base_model.model.e.lora_embedding_A": ("F32", (8, 8))}, Reason.UNSUPPORTED, "LoRA on an embedding"),
        ({f"{LAYER}.lora_A.weight": ("I8", (8, 128))}, Reason.FILES_INVALID, "is of type I8"),
        (
            {f"{LAYER}.lora_A.weight": ("F32", (8,)), f"{LAYER}.lora_B.weight": ("F32", (8,))},
            Reason.FILES_INVALID,
            "no m",
        ),
    ],
)
def test_tensors_that_are_refused(tmp_path: Path, tensors: dict[str, Any], reason: Reason, told: str):
    found = refusal(adapter_files.write(tmp_path / "a", tensors=tensors))
    assert found.reason is reason
    assert told in str(found)


def test_a_rank_above_the_engines_is_told_with_the_rank(tmp_path: Path):
    """The operator learns from it what the engine must be started with."""
    found = refusal(adapter_files.write(tmp_path / "a", r=32))
    assert (found.reason, found.rank) == (Reason.RANK_TOO_HIGH, 32)
    assert "its rank is 32, and the engine was started for ranks up to 16" in str(found)


def test_a_pickle_is_not_read(tmp_path: Path):
    folder = adapter_files.write(tmp_path / "a")
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    found = refusal(folder)
    assert found.reason is Reason.FILES_INVALID
    assert "only adapter_model.bin, which may run code" in str(found)


@pytest.mark.parametrize(
    ("name", "contradicts"),
    [
        ("mistral-7b-instruct", True),
        ("mistralai/Mistral-7B-Instruct-v0.3", True),
        ("phi-4-mini-instruct", False),
        ("microsoft/Phi-4-mini-instruct", False),
        ("unsloth/Phi-4-mini-instruct-bnb-4bit", False),
        ("/home/me/somewhere", False),
        ("./mistral-7b", False),
        ("", False),
    ],
)
def test_names_of_base_models(tmp_path: Path, name: str, contradicts: bool):
    """Another model's name is evidence; a path, a variant or nothing is none."""
    base = BaseModel(names=("phi-4-mini-instruct",))
    assert base.contradicts(name) is contradicts
    folder = adapter_files.write(tmp_path / "a")
    if contradicts:
        assert refusal(folder, Checks(find_base=lambda: base), name=name).reason is Reason.WRONG_BASE_MODEL
    else:
        Checks(find_base=lambda: base).inspect(folder, {"sh.kaito.model.name": name})


def test_shapes_come_from_the_models_own_files(tmp_path: Path):
    weights = {f"{LAYER}.weight": ("BF16", (128, 96)), "model.norm.weight": ("BF16", (128,))}
    (tmp_path / "model.safetensors").write_bytes(safetensors(weights))
    (tmp_path / "config.json").write_text(json.dumps({"text_config": {"hidden_size": 128}}))
    found = base_model.read(str(tmp_path), ["other"])
    assert found.names == (tmp_path.name, "other")
    assert (found.shapes, found.hidden_size) == ({LAYER: (128, 96)}, 128)
    assert found.disagreement(LAYER, 128, 96) is None
    assert found.disagreement(f"language_model.{LAYER}", 128, 96) is None
    assert found.disagreement(LAYER, 96, 128) is not None


def test_a_models_files_are_found_where_the_engine_downloads_them(tmp_path: Path):
    """Nothing is known of it until they are there; then they are read once."""
    finder = base_model.BaseFinder(model="org/phi", names=("phi",), downloads=tmp_path)
    assert finder.find() == BaseModel(names=("org/phi", "phi"))
    folder = tmp_path / "models--org--phi" / "snapshots" / "c0ffee"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"hidden_size": 64}))
    assert finder.find().hidden_size == 64
    (folder / "config.json").unlink()
    assert finder.find().hidden_size == 64


def test_a_width_alone_refuses_an_adapter_of_another_model():
    """Where only config.json is at hand, modules on the hidden state still tell; those of other parts do not."""
    base = BaseModel(names=(), hidden_size=128)
    assert base.disagreement("model.layers.0.self_attn.q_proj", 512, 256) is not None
    assert base.disagreement("model.layers.0.mlp.down_proj", 256, 512) is not None
    assert base.disagreement("model.layers.0.self_attn.q_proj", 512, 128) is None
    assert base.disagreement("vision_tower.layers.0.q_proj", 512, 256) is None


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=200))
def test_no_bytes_break_the_header_parser(header: bytes):
    try:
        tensor_file.parse_header(header, data_bytes=0)
    except TensorFileError:
        return
    assert json.loads(header).keys() <= {"__metadata__"}


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 400), st.binary(min_size=1, max_size=4))
def test_a_file_that_is_cut_or_changed_is_never_read_past_its_end(tmp_path_factory: Any, at: int, patch: bytes):
    whole = safetensors(lora(rank=1, into=2, out=2))
    path = tmp_path_factory.mktemp("cut") / "adapter_model.safetensors"
    path.write_bytes(whole[: min(at, len(whole) - 1)])
    with pytest.raises(TensorFileError):
        tensor_file.read_header(path)
    path.write_bytes(whole[:at] + patch + whole[at + len(patch) :])
    with suppress(TensorFileError):
        tensor_file.read_header(path)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5), st.sampled_from(
    ["r", "lora_alpha", "bias", "rank_pattern", "alpha_pattern", "base_model_name_or_path", "peft_type"]))  # fmt: skip
def test_no_value_breaks_the_config_parser(value: Any, field: str):
    with suppress(AdapterRefusedError):
        adapter_config.parse(json.dumps(adapter_files.CONFIG | {field: value}).encode())


def test_strength_scales_alpha_exactly_and_nothing_else():
    config = adapter_config.parse(json.dumps(adapter_files.CONFIG | {"alpha_pattern": {"o_proj": 4}}).encode())
    served = config.served(Fraction("0.25"), [LAYER])
    assert (served["lora_alpha"], served["alpha_pattern"], served["r"]) == (4.0, {"o_proj": 1.0}, 8)
    assert served["target_modules"] == ["o_proj"]
    assert config.served(Fraction(0), [LAYER])["lora_alpha"] == 0.0


class Walked(dict[str, Any]):
    """A map that tells when all of it is walked through."""

    walks = 0

    def items(self) -> Any:
        self.walks += 1
        return super().items()

    def __iter__(self) -> Any:
        self.walks += 1
        return super().__iter__()


def config_of(patterns: dict[str, int]) -> AdapterConfig:
    return AdapterConfig(
        rank=8, alpha=1.0, rank_pattern=patterns, alpha_pattern={}, uses_root_scaling=False, base_model=None
    )


def test_many_modules_and_many_patterns_kept_the_agent_busy_for_minutes():
    patterns, shapes = Walked({"q_proj": 4, "layers.1.q_proj": 2}), Walked({"model.a.q_proj": (1, 2)})
    config, base = config_of(patterns), BaseModel(names=("x",), shapes=shapes)
    for number in range(1000):
        assert config.rank_of(f"model.layers.{number}.q_proj") == 4
        assert base.disagreement(f"other.{number}.q_proj", 1, 2) is None
    assert patterns.walks + shapes.walks <= 4


NAMES = st.lists(st.sampled_from(["a", "b", "ab", ""]), min_size=1, max_size=4).map(".".join)


@given(st.dictionaries(NAMES, st.integers(1, 9), max_size=5), NAMES)
def test_the_first_pattern_that_is_the_end_of_a_name_counts(patterns: dict[str, int], module: str):
    first = next((rank for key, rank in patterns.items() if f".{module}".endswith(f".{key}")), 8)
    assert config_of(patterns).rank_of(module) == first
