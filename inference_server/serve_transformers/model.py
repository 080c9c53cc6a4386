"""The one model of this server: found or fetched, read as data, and kept. Importing torch is slow, so it is late."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from inference_server import contract
from inference_server.files.clock import SystemClock
from inference_server.files.errors import FetchError
from inference_server.notice import tell
from inference_server.refusal import InputError
from inference_server.serve import model_folder, weights
from inference_server.serve_transformers.options import Options

if TYPE_CHECKING:
    from transformers import GenerationConfig

# What a hub's repository holds that is data: weights in a form that cannot carry code, and what describes them.
DATA_PATTERNS: Final = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model", "tokenizer*")
CODE_PATTERNS: Final = ("*.py",)
# Where a config.json says how long a context the model was made for.
LENGTH_KEYS: Final = ("max_position_embeddings", "n_positions", "max_sequence_length", "seq_length", "n_ctx")


@frozen(kw_only=True)
class Model:
    """A loaded model with its tokenizer; `max_model_len` counts the tokens of prompt and answer together."""

    model: Any
    tokenizer: Any
    max_model_len: int

    @property
    def generation_config(self) -> GenerationConfig:
        """The model's own settings of generation."""
        config: GenerationConfig = self.model.generation_config
        return config

    def count(self, text: str) -> int:
        """Tokens of a text, with those that the tokenizer puts around one."""
        return len(self.tokenizer(text)["input_ids"])

    def prompt_of(self, messages: list[dict[str, Any]], tools: list[Any] | None, more: dict[str, Any]) -> str:
        """The conversation as the model reads it. Raises InputError for one that its template refuses."""
        from jinja2 import TemplateError

        if not self.tokenizer.chat_template:
            remedy = "use /v1/completions, or give a template with chat-template"
            raise InputError(field="model", rule="with a chat template", found="one without", remedy=remedy)
        try:
            text: str = self.tokenizer.apply_chat_template(
                messages, tools=tools, tokenize=False, add_generation_prompt=True, **more
            )
        except (TemplateError, TypeError, ValueError, KeyError) as error:
            found = f"{type(error).__name__}: {error}"
            raise InputError(field="messages", rule="as the model's chat template takes them", found=found) from error
        return text

    def count_prompt(self, prompt: str) -> int:
        """Tokens of a conversation that `prompt_of` gave: its special tokens are in it already."""
        return len(self.tokenizer(prompt, add_special_tokens=False)["input_ids"])


def load(options: Options) -> Model:
    """Loads the model. Raises InputError for one that cannot be found, read, or is not plain data."""
    folder = _folder(options)
    # From here on nothing is fetched, whatever the model's files name.
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    # Its serving code writes a warning for every request, and its progress bars are for a terminal.
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    shared = {"local_files_only": True, "trust_remote_code": options.trust_remote_code}
    cuda = torch.cuda.is_available()
    try:
        config = AutoConfig.from_pretrained(folder, **shared)
        tokenizer = AutoTokenizer.from_pretrained(folder, **shared)
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            dtype=options.dtype,
            use_safetensors=True,
            # Several GPUs hold the layers one after the other; a single one, or the CPU, holds them all.
            device_map=("auto" if torch.cuda.device_count() > 1 else "cuda:0") if cuda else None,
            **shared,
        )
    except torch.OutOfMemoryError as error:
        raise MemoryError(" ".join(str(error).split())) from error
    except Exception as error:
        # The files are anybody's, and each library that reads them raises its own.
        raise _unreadable(options, error) from error
    if options.chat_template is not None:
        tokenizer.chat_template = _template(options.chat_template)
    return Model(model=model.eval(), tokenizer=tokenizer, max_model_len=_length(options, config))


def _folder(options: Options) -> Path:
    if options.weights_agent is not None:
        # Meanwhile the files come nearer.
        import transformers  # noqa: F401

        folder = weights.Wait(ask=weights.loopback(options.weights_agent), tell=tell).folder()
        model_folder.check(folder, None)
        return Path(folder)
    model_folder.check(options.model, None)
    if options.model.startswith(("/", ".")):
        return Path(options.model)
    from huggingface_hub import snapshot_download

    from inference_server.files.hub_failures import understood

    patterns = [*DATA_PATTERNS, *(CODE_PATTERNS if options.trust_remote_code else ())]
    try:
        # The token, where there is one, is read from the environment.
        with understood(options.model, SystemClock(), has_token=bool(os.environ.get(contract.ENV_HUB_TOKEN))):
            found = snapshot_download(
                options.model, revision=options.revision, cache_dir=options.download_dir, allow_patterns=patterns
            )
    except FetchError as error:
        raise InputError(
            field=f"model {options.model}",
            rule="on the hub and open to this pod",
            found=error.found,
            remedy=error.remedy,
            exit_code=contract.EXIT_UNAVAILABLE if error.retryable else contract.EXIT_MODEL,
        ) from error
    model_folder.check(found, None)
    return Path(found)


def _unreadable(options: Options, error: Exception) -> InputError:
    told = " ".join(str(error).split())[:400]
    needs_code = "trust_remote_code" in told or "custom code" in told
    remedy = "its code must be allowed with trust-remote-code" if needs_code else ""
    return InputError(
        field=f"model {options.model}",
        rule="a causal language model that transformers reads",
        found=f"{type(error).__name__}: {told}",
        remedy=remedy,
        exit_code=contract.EXIT_MODEL,
    )


def _template(value: str) -> str:
    if "{" in value or "\n" in value:
        return value
    try:
        return Path(value).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(field=contract.ARG_CHAT_TEMPLATE, rule="a readable file", found=str(error)) from error


def _length(options: Options, config: Any) -> int:
    text = config.get_text_config()
    own = next((value for key in LENGTH_KEYS if isinstance(value := getattr(text, key, None), int)), None)
    if options.max_model_len is None:
        if own is None:
            remedy = f"give {contract.ARG_MAX_MODEL_LEN}"
            raise InputError(field=contract.ARG_MAX_MODEL_LEN, rule="known", found="none in config.json", remedy=remedy)
        return own
    if own is not None and options.max_model_len > own:
        raise InputError(
            field=contract.ARG_MAX_MODEL_LEN, rule=f"at most the model's own {own}", found=str(options.max_model_len)
        )
    return options.max_model_len
