"""The training itself: the one door to torch, transformers, peft and trl."""

from __future__ import annotations

import datetime as dt
import json
import math
import os
import time
from pathlib import Path
from typing import Any, Final

import accelerate
import datasets
import peft
import torch
import transformers
import trl
from attrs import field, mutable
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, PrinterCallback, TrainerCallback

from inference_server import contract
from inference_server.plain_yaml import refusal
from inference_server.refusal import InputError
from inference_server.tune import arrow_data, checkpoint, quantization, template_file
from inference_server.tune.channel import Channel
from inference_server.tune.config import TuningConfig
from inference_server.tune.examination import Examination
from inference_server.tune.identity import identity
from inference_server.tune.stopping import Stopping

_DEFAULT_MAX_LENGTH: Final = 1024
"""trl's own default, tokens of one example."""

_PATIENCE: Final = {"timeout": dt.timedelta(days=1)}
"""How long processes wait for one another: the first alone reads all data, and the supervisor notices a dead one."""

_DEFAULTS: Final = {
    "logging_first_step": True,
    "ddp_find_unused_parameters": False,
    "save_total_limit": 2,
}


@mutable(kw_only=True)
class Training:
    """One process's part of a run.

    Attributes:
        work: the folder that all processes of this run share.
        identity: of this run, once the data is taken.
        processes: accelerate's state, through which they wait for one another.
    """

    config: TuningConfig
    model: Path
    work: Path
    channel: Channel
    stop: Stopping
    identity: str = field(default="", init=False)
    processes: Any = field(init=False)
    _tokenizer: Any = field(init=False)
    _trainer: Any = field(default=None, init=False)
    _checkpoints: Path = field(default=Path(), init=False)

    def __attrs_post_init__(self) -> None:
        """Meets the other processes."""
        on_cpu = bool(self.config.training.get("use_cpu")) or not torch.cuda.is_available()
        self.processes = accelerate.PartialState(cpu=on_cpu, **(_PATIENCE if "RANK" in os.environ else {}))
        transformers.logging.set_verbosity_warning()
        transformers.logging.disable_progress_bar()
        datasets.disable_progress_bars()
        self._tokenizer = self._open_tokenizer()

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that tells and saves."""
        return bool(self.processes.is_main_process)

    @property
    def _on_cpu(self) -> bool:
        return bool(self.processes.device.type == "cpu")

    def take_data(self, examination: Examination) -> None:
        """Puts the data where all processes map it from, and names the run. Raises InputError for what is broken."""
        told = self.work / "data.json"
        if self.is_first:
            self.channel.tell(message="reading the data")
            arrow_data.write(examination, self.work / "data.arrow", has_template=bool(self._tokenizer.chat_template))
            told.write_text(json.dumps(examination.digest), encoding="utf-8")
        self.processes.wait_for_everyone()
        self.identity = identity(
            self.config,
            model=self.model,
            data_digest=json.loads(told.read_text(encoding="utf-8")),
            processes=self.processes.num_processes,
            versions={one.__name__: one.__version__ for one in (torch, transformers, peft, trl)},
        )

    def train(self, output: Path) -> bool:
        """Trains from the newest whole checkpoint, or from the start; False when a signal came before the end."""
        self._checkpoints = checkpoint.folder_of(output, self.identity)
        if self.is_first:
            checkpoint.remove_broken(self._checkpoints)
        self.processes.wait_for_everyone()
        resumed = checkpoint.newest_whole(self._checkpoints)
        self._trainer = self._make_trainer()
        if self.is_first and resumed is not None:
            print(f"inference_server: going on from {resumed.name} of an earlier try", flush=True)
        self.stop.gentle = True
        if not self.stop.asked:
            self._run(resumed)
        state = self._trainer.state
        return bool(state.global_step >= state.max_steps > 0)

    def write(self, folder: Path) -> None:
        """Writes the adapter as peft does, safetensors only. Raises InputError for one that holds no numbers."""
        model = self._trainer.accelerator.unwrap_model(self._trainer.model)
        trained = [one for one in model.parameters() if one.requires_grad]
        if not all(bool(torch.isfinite(one).all()) for one in trained):
            raise _diverged(self._trainer.state.global_step)
        model.save_pretrained(folder, safe_serialization=True)

    def forget_checkpoints(self) -> None:
        """The run is over."""
        checkpoint.remove_all(self._checkpoints)

    def cause(self) -> str:
        """How it went, in a sentence."""
        state = self._trainer.state
        losses = [entry["loss"] for entry in state.log_history if "loss" in entry]
        told = f", loss {losses[-1]:.4g}" if losses else ""
        return f"trained {state.global_step} steps{told}"

    def stopped_cause(self) -> str:
        """Where a signal ended it."""
        newest = checkpoint.newest_whole(self._checkpoints)
        kept = f"the next try goes on from {newest.name}" if newest else "no checkpoint was written yet"
        return f"stopped by a signal at step {self._trainer.state.global_step}; {kept}"

    def _run(self, resumed: Path | None) -> None:
        try:
            self._trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)
        except torch.OutOfMemoryError as error:
            raise InputError(
                field="GPU memory",
                rule="room for the model, the adapter and one batch",
                found=" ".join(str(error).split())[:400],
                remedy="lower per_device_train_batch_size or max_length, tune with qlora, or take a larger GPU",
                exit_code=contract.EXIT_CONFIG,
            ) from error

    def _open_tokenizer(self) -> Any:
        options = self.config.model
        try:
            tokenizer = AutoTokenizer.from_pretrained(
                self.model, local_files_only=True, trust_remote_code=options.trust_remote_code
            )
        except (OSError, ValueError) as error:
            raise _unreadable(self.model, "tokenizer", error) from error
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        if options.chat_template is not None:
            tokenizer.chat_template = template_file.read(options.chat_template)
        return tokenizer

    def _open_model(self) -> Any:
        options, more = self.config.model, {}
        if self.config.quantization:
            quantization.check(self.config.quantization, str(self.processes.device))
            more["quantization_config"] = BitsAndBytesConfig(**self.config.quantization)
        if options.attn_implementation:
            more["attn_implementation"] = options.attn_implementation
        try:
            return AutoModelForCausalLM.from_pretrained(
                self.model,
                dtype=self._dtype(),
                device_map={"": self.processes.device},
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=options.trust_remote_code,
                **more,
            )
        except (OSError, ValueError, KeyError) as error:
            raise _unreadable(self.model, "model", error) from error

    def _dtype(self) -> Any:
        """The one that the file asks for, or the next that the device computes in."""
        wanted = self.config.model.dtype
        if wanted == "auto":
            return "auto"
        if wanted == "bfloat16" and not self._on_cpu and not torch.cuda.is_bf16_supported(including_emulation=False):
            return torch.float16
        return getattr(torch, wanted)

    def _make_trainer(self) -> Any:
        settings = self._settings()
        model = self._open_model()
        data = self._split()
        # The words below are the libraries'; what they refuse is told in their words, as the file's mistake.
        try:
            lora = peft.LoraConfig(
                **{"target_modules": "all-linear", **self.config.lora}, task_type=peft.TaskType.CAUSAL_LM
            )
            trainer = trl.SFTTrainer(
                model=model,
                args=settings,
                train_dataset=data["train"],
                eval_dataset=data.get("test"),
                processing_class=self._tokenizer,
                peft_config=lora,
                callbacks=[_Teller(self)],
            )
        except (ValueError, TypeError, ImportError) as error:
            raise refusal(
                "training_config", "values that fit together", " ".join(str(error).split())[:600], ""
            ) from error
        trainer.remove_callback(PrinterCallback)
        if not settings.packing:
            self._tell_left_out(len(data["train"]), len(trainer.train_dataset), settings.max_length)
        return trainer

    def _tell_left_out(self, rows: int, kept: int, max_length: int | None) -> None:
        """Rows of which the prompt alone fills the length have nothing left to learn, and trl leaves them out."""
        if kept == 0:
            raise InputError(
                field="data",
                rule=f"rows with something to learn in their first {max_length} tokens",
                found=f"none of {rows}: the prompts alone are longer",
                remedy="raise TrainingArguments.max_length",
                exit_code=contract.EXIT_DATA,
            )
        if kept < rows and self.is_first:
            left_out = (
                f"{rows - kept} of {rows} rows are left out: their prompts fill the {max_length} tokens of max_length"
            )
            print(f"inference_server: {left_out}", flush=True)

    def _split(self) -> Any:
        options = self.config.dataset
        data = arrow_data.read(self.work / "data.arrow")
        if options.shuffle:
            data = data.shuffle(seed=options.shuffle_seed)
        if options.train_share == 1:
            return {"train": data}
        if len(data) < 2:  # noqa: PLR2004 (one to learn from and one to evaluate on)
            raise refusal(
                "DatasetConfig.train_test_split",
                "1 for a single row",
                f"{options.train_share}",
                "nothing would be left",
            )
        return data.train_test_split(train_size=options.train_share, shuffle=False)

    def _context(self) -> int | None:
        """The most tokens that the model attends to, where its configuration says so."""
        code = self.config.model.trust_remote_code
        try:
            found = transformers.AutoConfig.from_pretrained(self.model, local_files_only=True, trust_remote_code=code)
        except (OSError, ValueError, KeyError) as error:
            raise _unreadable(self.model, "config.json", error) from error
        return getattr(found.get_text_config(), "max_position_embeddings", None)

    def _half(self, given: dict[str, Any]) -> dict[str, bool]:
        """The 16 bits that are computed in, unless the file says: trl would take bfloat16, which not all GPUs have."""
        if {"bf16", "fp16"} & set(given) or self._on_cpu or self.config.model.dtype == "float32":
            return {"bf16": False, "fp16": False}
        brain = self.config.model.dtype != "float16" and torch.cuda.is_bf16_supported(including_emulation=False)
        return {"bf16": brain, "fp16": not brain}

    def _settings(self) -> Any:
        given = {name: value for name, value in self.config.training.items() if name != "use_cpu"}
        if self.config.dataset.train_share < 1:
            given.setdefault("eval_strategy", "epoch")
        limits = [one for one in (given.get("max_length", _DEFAULT_MAX_LENGTH), self._context()) if one]
        given["max_length"] = min(limits, default=None)
        try:
            return trl.SFTConfig(
                **{**_DEFAULTS, **self._half(given), **given},
                output_dir=str(self._checkpoints),
                report_to="none",
                use_cpu=self._on_cpu,
                disable_tqdm=True,
                dataloader_pin_memory=not self._on_cpu,
                logging_nan_inf_filter=False,
                include_num_input_tokens_seen="all",
            )
        except (ValueError, TypeError, ImportError) as error:
            raise refusal(
                "TrainingArguments", "values that fit together", " ".join(str(error).split())[:600], ""
            ) from error


class _Teller(TrainerCallback):  # type: ignore[misc]
    """Tells the supervisor how far it is, seals checkpoints, and ends the training when a signal asks for it."""

    def __init__(self, training: Training) -> None:
        self.training = training
        self._began_s = time.monotonic()
        self._first_step = 0

    def on_train_begin(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
        self._began_s, self._first_step = time.monotonic(), state.global_step
        if self.training.is_first:
            self.training.channel.begin(state.global_step, state.max_steps)

    def on_step_end(self, _args: Any, state: Any, control: Any, **_: Any) -> Any:
        training = self.training
        if training.is_first:
            training.channel.stepped(state.global_step, state.epoch, int(state.num_input_tokens_seen))
        if self._anybody_asked() and state.global_step < state.max_steps:
            control.should_save = True
            control.should_training_stop = True
        return control

    def on_log(self, _args: Any, state: Any, _control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        logs = logs or {}
        self._tell_gpu()
        if "loss" in logs and not math.isfinite(float(logs["loss"])):
            raise _diverged(state.global_step)
        if not self.training.is_first:
            return
        names = {"loss": "loss", "eval_loss": "eval_loss", "learning_rate": "learning_rate"}
        found = {ours: float(logs[theirs]) for theirs, ours in names.items() if theirs in logs}
        if found:
            self.training.channel.tell(**found)
            values = ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in found.items())
            print(
                f"inference_server: step {state.global_step} of {state.max_steps}, {values}{self._left(state)}",
                flush=True,
            )

    def on_save(self, args: Any, state: Any, _control: Any, **_: Any) -> None:
        # Every process has written its own part by then.
        self.training.processes.wait_for_everyone()
        if self.training.is_first:
            checkpoint.seal(Path(args.output_dir) / f"checkpoint-{state.global_step}")

    def _left(self, state: Any) -> str:
        done = state.global_step - self._first_step
        if done <= 0:
            return ""
        left_s = (time.monotonic() - self._began_s) / done * (state.max_steps - state.global_step)
        return f", {left_s:.0f} s left"

    def _anybody_asked(self) -> bool:
        """A signal reaches one process before another, and all must end after the same step."""
        asked = self.training.stop.asked
        if self.training.processes.num_processes == 1:
            return asked
        mark = torch.tensor([int(asked)], device=self.training.processes.device)
        torch.distributed.all_reduce(mark, op=torch.distributed.ReduceOp.MAX)
        return bool(mark.item())

    def _tell_gpu(self) -> None:
        device = self.training.processes.device
        if device.type == "cuda":
            free, total = torch.cuda.mem_get_info(device)
            self.training.channel.gpu_memory(str(device.index or 0), total - free, total)


def _diverged(step: int) -> InputError:
    remedy = "lower TrainingArguments.learning_rate, or set max_grad_norm"
    return refusal("the loss", "a number", f"none at step {step}: the training has diverged", remedy)


def _unreadable(model: Path, what: str, error: Exception) -> InputError:
    return InputError(
        field=f"model {model}",
        rule=f"a {what} that transformers can open",
        found=" ".join(str(error).split())[:600],
        remedy="code of the model's own runs only with ModelConfig.trust_remote_code",
        exit_code=contract.EXIT_MODEL,
    )
