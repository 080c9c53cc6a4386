"""What keys of `training_config.yaml` mean here beyond what the libraries say of them."""

from __future__ import annotations

from typing import Final

SECTIONS: Final = (
    "ModelConfig",
    "QuantizationConfig",
    "LoraConfig",
    "TrainingArguments",
    "DatasetConfig",
    "DataCollator",
)
ROOT: Final = "training_config"

_TEXT: Final = frozenset({"str"})
_BOOL: Final = frozenset({"bool"})
_INT: Final = frozenset({"int"})
_NUMBER: Final = frozenset({"int", "float"})

OWN: Final = {
    "ModelConfig": {
        "torch_dtype": _TEXT,
        "dtype": _TEXT,
        "trust_remote_code": _BOOL,
        "chat_template": _TEXT,
        "attn_implementation": _TEXT,
    },
    "DatasetConfig": {
        "dataset_path": _TEXT,
        "dataset_extension": _TEXT,
        "shuffle_dataset": _BOOL,
        "shuffle_seed": _INT,
        "train_test_split": _NUMBER,
        "context_column": _TEXT | {"None"},
        "response_column": _TEXT,
        "messages_column": _TEXT,
    },
    "DataCollator": {"pad_to_multiple_of": _INT | {"None"}},
}
"""Sections that are ours, as no library has a class for them: keys and the types of their values."""

WITHOUT_EFFECT: Final = {
    "ModelConfig": {
        "pretrained_model_name_or_path": "the Workspace's preset names the model",
        "revision": "the Workspace's preset names the revision",
        "local_files_only": "training never goes to a hub",
        "device_map": "each process holds the model on its own GPU",
        "cache_dir": "the weights are where the pod has them",
        "force_download": "training never downloads",
        "resume_download": "training never downloads",
        "proxies": "training never downloads",
        "output_loading_info": "nobody reads it",
        "low_cpu_mem_usage": "it is always on",
        "load_in_4bit": "it stands under QuantizationConfig",
        "load_in_8bit": "it stands under QuantizationConfig",
    },
    "QuantizationConfig": {"quant_method": "bitsandbytes is the one there is"},
    "LoraConfig": {
        "task_type": "it is CAUSAL_LM",
        "peft_type": "it is LORA",
        "base_model_name_or_path": "the Workspace's preset is written there",
        "revision": "the Workspace's preset is written there",
        "inference_mode": "this is training",
        "peft_version": "it is written by peft",
    },
    "TrainingArguments": {
        "output_dir": "the Workspace's output says where results go",
        "logging_dir": "logs go to the pod's output",
        "overwrite_output_dir": "a run goes on from its own checkpoint, and from no other",
        "save_safetensors": "nothing else is written",
        "do_train": "that is what this does",
        "do_eval": "train_test_split below 1 asks for it",
        "do_predict": "nothing is predicted",
        "disable_tqdm": "progress is told on /metrics and in lines of the log",
        "log_level": "all is logged",
        "run_name": "no tracker reads it",
        "remove_unused_columns": "only known columns are kept",
    },
    "DataCollator": dict.fromkeys(
        (
            "mlm",
            "mlm_probability",
            "mask_replace_prob",
            "random_replace_prob",
            "tokenizer",
            "tf_experimental_compile",
            "return_tensors",
            "seed",
        ),
        "causal models learn the next token, without masks",
    ),
}
"""Keys that KAITO's file may have and that do nothing here, with the reason; the log says so."""

RENAMED: Final = {
    "TrainingArguments": {
        "evaluation_strategy": "eval_strategy",
        "max_seq_length": "max_length",
        "warmup_ratio": "warmup_steps",
        "no_cuda": "use_cpu",
    }
}
"""Names that the libraries have given up, and what they are called now."""

_HUB: Final = "the result goes where the Workspace's output says and nowhere else"
_TRACKER: Final = "no tracker outside the cluster is told of a tuning; its progress is on /metrics and /report"
_SHARDED: Final = "each GPU holds the whole model here; take a larger GPU or qlora for a larger model"
_COLUMNS: Final = "DatasetConfig names the columns"
_FILES: Final = "it reads or writes files outside this tuning"
_METHOD: Final = "it is another method than plain LoRA, and an adapter of it cannot be served"

REFUSED: Final = {
    "ModelConfig": {
        "state_dict": "weights come from the model's safetensors",
        "from_tf": "weights come from the model's safetensors",
        "from_flax": "weights come from the model's safetensors",
    },
    "QuantizationConfig": {},
    "LoraConfig": {
        **dict.fromkeys(
            (
                "use_dora",
                "use_qalora",
                "use_bdlora",
                "alora_invocation_tokens",
                "layer_replication",
                "arrow_config",
                "kasa_config",
                "monteclora_config",
                "velora_config",
                "lora_bias",
                "target_parameters",
                "trainable_token_indices",
                "modules_to_save",
            ),
            _METHOD,
        ),
        **dict.fromkeys(
            ("loftq_config", "eva_config", "corda_config", "lora_ga_config"), "it changes the base model's weights"
        ),
        **dict.fromkeys(("auto_mapping", "runtime_config", "megatron_config", "megatron_core"), _FILES),
    },
    "TrainingArguments": {
        **dict.fromkeys(
            (
                "push_to_hub",
                "hub_token",
                "hub_model_id",
                "hub_strategy",
                "hub_private_repo",
                "hub_always_push",
                "hub_revision",
            ),
            _HUB,
        ),
        **dict.fromkeys(
            ("report_to", "project", "trackio_space_id", "trackio_bucket_id", "trackio_static_space_id"), _TRACKER
        ),
        **dict.fromkeys(
            ("deepspeed", "fsdp", "fsdp_config", "accelerator_config", "parallelism_config", "ddp_backend"), _SHARDED
        ),
        **dict.fromkeys(("dataset_text_field", "dataset_kwargs"), _COLUMNS),
        "resume_from_checkpoint": "a run that was evicted goes on from its own newest checkpoint, and from no other",
        "save_only_model": "a checkpoint without the optimizer's state cannot be gone on from",
        "enable_jit_checkpoint": "a checkpoint is written on SIGTERM anyway",
        "model_init_kwargs": "ModelConfig holds them",
        "chat_template_path": "ModelConfig.chat_template holds the template",
        "trust_remote_code": "it stands under ModelConfig",
        "local_rank": "it is given to each process",
        "torch_compile": "it needs a compiler in the pod",
        "torch_compile_backend": "it needs a compiler in the pod",
        "torch_compile_mode": "it needs a compiler in the pod",
        "include_for_metrics": "no metrics but the loss are worked out",
        "dataloader_multiprocessing_context": "processes are started one way only",
        "shuffle_dataset": "it stands under DatasetConfig",
        "eos_token": "the model's own is what its server stops at",
        "pad_token": "the tokenizer's own is taken, or its end of text",
    },
}
"""Keys that are refused unless they ask for nothing (null, false, "none", an empty text), with the reason."""

SERVABLE_INITIAL_WEIGHTS: Final = (True, False, "gaussian", "orthogonal")
"""Of LoraConfig.init_lora_weights. All others change the base model, so that the adapter does not fit to it."""

ATTENTION: Final = ("eager", "sdpa", "flash_attention_2", "flash_attention_3")
"""Of ModelConfig.attn_implementation. Other names are those of programs on a hub, which would be downloaded and run."""

DTYPES: Final = ("auto", "bfloat16", "float16", "float32")

MAX_RANK: Final = 512
"""The largest that vLLM serves (`MaxLoRARanks` in vllm/config/lora.py)."""
