"""The keys of trl, peft and bitsandbytes are handed in here; test_tune_keys.py asks the libraries themselves."""

from __future__ import annotations

import json
from typing import Any

import pytest

from inference_server import contract
from inference_server.refusal import InputError
from inference_server.tune import config
from inference_server.tune.config import METHODS, TuningConfig
from inference_server.tune.example import Columns

INT, NUMBER, BOOL, TEXT = (frozenset(names.split()) for names in ("int", "float", "bool", "str"))
KNOWN = {
    "TrainingArguments": {
        "learning_rate": NUMBER,
        "num_train_epochs": NUMBER,
        "max_steps": INT,
        "per_device_train_batch_size": INT,
        "warmup_steps": NUMBER,
        "max_length": INT | {"None"},
        "save_strategy": TEXT,
        "save_steps": NUMBER,
        "save_total_limit": INT | {"None"},
        "ddp_find_unused_parameters": BOOL | {"None"},
        "pad_to_multiple_of": INT | {"None"},
        "dataloader_num_workers": INT,
        "gradient_checkpointing": BOOL,
        "report_to": TEXT | {"list", "None"},
        "push_to_hub": BOOL,
    },
    "LoraConfig": {
        "r": INT,
        "lora_alpha": INT,
        "lora_dropout": NUMBER,
        "bias": TEXT,
        "target_modules": TEXT | {"list", "None"},
        "init_lora_weights": BOOL | TEXT,
        "use_dora": BOOL,
    },
    "QuantizationConfig": {
        "load_in_4bit": BOOL,
        "load_in_8bit": BOOL,
        "bnb_4bit_quant_type": TEXT,
        "bnb_4bit_compute_dtype": TEXT,
        "bnb_4bit_use_double_quant": BOOL,
    },
}


def parsed(sections: dict[str, Any], method: str = "lora") -> TuningConfig:
    return config.parse(json.dumps({"training_config": sections}), method, KNOWN)


def refused(sections: dict[str, Any], method: str = "lora") -> str:
    with pytest.raises(InputError) as caught:
        parsed(sections, method)
    assert caught.value.exit_code == contract.EXIT_CONFIG
    return str(caught.value)


@pytest.mark.parametrize("method", METHODS)
def test_the_template_stands_in_for_a_missing_file(method):
    found = config.read(None, method, KNOWN)
    assert found.lora == {"r": 8, "lora_alpha": 8, "lora_dropout": 0.0}
    assert found.training["save_strategy"] == "steps"
    assert found.dataset.train_share == 1
    assert bool(found.quantization) == (method == "qlora")


def test_kaito_s_own_file_is_accepted_and_what_does_nothing_is_told():
    """The ConfigMap lora-params-template of KAITO 0.12, as a user may have copied it."""
    text = """
training_config:
  ModelConfig: # Configurable Parameters: https://huggingface.co/docs/transformers
    torch_dtype: "bfloat16"
    local_files_only: true
    device_map: "auto"
  QuantizationConfig:
    load_in_4bit: false
  LoraConfig:
    r: 8
    lora_alpha: 8
    lora_dropout: 0.0
  TrainingArguments:
    output_dir: "/mnt/results"
    ddp_find_unused_parameters: false
    save_strategy: "no"
    per_device_train_batch_size: 1
  DataCollator:
    mlm: true
  DatasetConfig:
    shuffle_dataset: true
    train_test_split: 1
"""
    found = config.parse(text, "lora", KNOWN)
    assert found.model.dtype == "bfloat16"
    assert found.training == {
        "ddp_find_unused_parameters": False,
        "save_strategy": "no",
        "per_device_train_batch_size": 1,
    }
    told = "\n".join(found.notes)
    for key in ("local_files_only", "device_map", "output_dir", "mlm"):
        assert f"{key} has no effect: " in told


def test_numbers_that_yaml_reads_as_text_are_numbers():
    text = (
        "training_config:\n  TrainingArguments:\n    learning_rate: 5e-5\n    max_steps: '7'\n    num_train_epochs: 2\n"
    )
    found = config.parse(text, "lora", KNOWN).training
    assert found == {"learning_rate": 5e-5, "max_steps": 7, "num_train_epochs": 2.0}


def test_names_that_the_libraries_gave_up_are_translated():
    found = parsed({"TrainingArguments": {"max_seq_length": 512, "warmup_ratio": 0.1}}).training
    assert found == {"max_length": 512, "warmup_steps": 0.1}
    assert "each key once" in refused({"TrainingArguments": {"max_seq_length": 512, "max_length": 9}})


def test_the_dataset_s_columns_and_share():
    found = parsed(
        {
            "DatasetConfig": {
                "dataset_path": "data/a.csv",
                "dataset_extension": "csv",
                "context_column": "q",
                "response_column": "a",
                "shuffle_dataset": False,
            }
        }
    ).dataset
    assert found.columns == Columns(context="q", response="a")
    assert (found.path, found.extension, found.shuffle, found.train_share) == ("data/a.csv", "csv", False, 0.8)


@pytest.mark.parametrize(
    ("sections", "method", "told"),
    [
        ({"LoraConfg": {}}, "lora", "section LoraConfg: one of ModelConfig"),
        ({"LoraConfg": {}}, "lora", "did you mean LoraConfig"),
        ({"LoraConfig": {"lora_alfa": 8}}, "lora", "LoraConfig.lora_alfa: a key of LoraConfig, found an unknown one"),
        ({"LoraConfig": {"lora_alfa": 8}}, "lora", "did you mean lora_alpha"),
        ({"LoraConfig": {"r": "8x"}}, "lora", "LoraConfig.r: a value of type int, found '8x'"),
        ({"LoraConfig": {"r": True}}, "lora", "LoraConfig.r: a value of type int, found True"),
        ({"LoraConfig": {"r": 0}}, "lora", "LoraConfig.r: 1 to 512"),
        ({"LoraConfig": {"r": 1024}}, "lora", "LoraConfig.r: 1 to 512"),
        ({"LoraConfig": {"use_dora": True}}, "lora", "cannot be served"),
        ({"LoraConfig": {"bias": "all"}}, "lora", "LoraConfig.bias: none"),
        ({"LoraConfig": {"init_lora_weights": "pissa"}}, "lora", "change the base model"),
        ({"LoraConfig": [1]}, "lora", "LoraConfig: a map of keys to values"),
        ({"QuantizationConfig": {"load_in_4bit": True}}, "lora", "tune with the method qlora"),
        ({"QuantizationConfig": {"load_in_8bit": True}}, "lora", "QuantizationConfig.load_in_8bit: false"),
        ({"QuantizationConfig": {"load_in_4bit": "maybe"}}, "lora", "of type bool, found 'maybe'"),
        ({}, "qlora", "load_in_4bit or load_in_8bit for the method qlora, found neither"),
        ({"QuantizationConfig": {"load_in_4bit": True, "load_in_8bit": True}}, "qlora", "found both"),
        ({"TrainingArguments": {"report_to": "wandb"}}, "lora", "no tracker outside the cluster"),
        ({"TrainingArguments": {"push_to_hub": True}}, "lora", "the Workspace's output says"),
        ({"TrainingArguments": {"hub_token": "x"}}, "lora", "not set here"),
        ({"TrainingArguments": {"deepspeed": "/etc/passwd"}}, "lora", "each GPU holds the whole model"),
        ({"TrainingArguments": {"fsdp_config": {"a": 1}}}, "lora", "each GPU holds the whole model"),
        ({"TrainingArguments": {"resume_from_checkpoint": "/mnt/x"}}, "lora", "its own newest checkpoint"),
        ({"TrainingArguments": {"model_init_kwargs": {"trust_remote_code": True}}}, "lora", "ModelConfig holds them"),
        ({"TrainingArguments": {"chat_template_path": "org/model"}}, "lora", "ModelConfig.chat_template"),
        ({"TrainingArguments": {"learning_rate": 0}}, "lora", "learning_rate: above 0"),
        ({"TrainingArguments": {"learning_rate": float("nan")}}, "lora", "a finite number"),
        ({"TrainingArguments": {"per_device_train_batch_size": 0}}, "lora", "at least 1"),
        ({"TrainingArguments": {"dataloader_num_workers": 999}}, "lora", "0 to 32"),
        ({"TrainingArguments": {"output_dir": "/mnt"}}, "lora", "output_dir: a folder below /mnt"),
        ({"TrainingArguments": {"output_dir": "/mnt/../etc"}}, "lora", "a folder below /mnt"),
        ({"TrainingArguments": {"output_dir": "/etc"}}, "lora", "a folder below /mnt"),
        ({"TrainingArguments": {"output_dir": 7}}, "lora", "a folder below /mnt"),
        ({"ModelConfig": {"torch_dtype": "bfloat61"}}, "lora", "did you mean bfloat16"),
        ({"ModelConfig": {"attn_implementation": "org/kernel"}}, "lora", "programs on a hub"),
        ({"ModelConfig": {"state_dict": "x"}}, "lora", "the model's safetensors"),
        ({"ModelConfig": {"trust_remote_code": "perhaps"}}, "lora", "of type bool"),
        ({"DatasetConfig": {"train_test_split": 0}}, "lora", "above 0 and at most 1"),
        ({"DatasetConfig": {"train_test_split": 1.5}}, "lora", "above 0 and at most 1"),
        ({"DatasetConfig": {"shuffle_seed": "x"}}, "lora", "of type int"),
    ],
)
def test_a_mistake_is_refused_with_its_place_and_a_remedy(sections, method, told):
    assert told in refused(sections, method)


def test_what_is_refused_may_ask_for_nothing():
    nothing = {"report_to": "none", "push_to_hub": False, "deepspeed": None, "hub_token": "", "fsdp": ""}
    assert parsed({"TrainingArguments": nothing}).training == {}


@pytest.mark.parametrize("text", ["", "[]", "a: 1", "training_config: 7", "training_config: {}\nmore: {}", "{"])
def test_a_file_of_another_shape_is_refused(text):
    with pytest.raises(InputError) as caught:
        config.parse(text, "lora", KNOWN)
    assert caught.value.exit_code == contract.EXIT_CONFIG


def test_remote_code_runs_only_where_the_file_asks():
    assert not parsed({}).model.trust_remote_code
    assert parsed({"ModelConfig": {"trust_remote_code": True}}).model.trust_remote_code
