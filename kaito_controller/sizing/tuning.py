"""The plan of one tuning workload: a whole copy of the model on each GPU of one node, and the memory of each copy.

PyTorch's DistributedDataParallel copies the model to every GPU and adds up the gradients, so more GPUs make a run
faster and not smaller; what one GPU cannot hold, more GPUs cannot either.
"""

from __future__ import annotations

from attrs import evolve, frozen

from kaito_controller.catalog.hardware import SKU
from kaito_controller.catalog.model import Preset, Runtime
from kaito_controller.sizing.fit import gib
from kaito_controller.sizing.flags import EngineFlags
from kaito_controller.sizing.memory import LedgerEntry, total
from kaito_controller.sizing.misfit import DoesNotFit, Misfit
from kaito_controller.sizing.missing import MissingNumber
from kaito_controller.sizing.model_sizes import ModelSizes
from kaito_controller.sizing.precision import UnsupportedPrecision, served_precision
from kaito_controller.sizing.refusals import unsuitable
from kaito_controller.sizing.training_memory import training_ledger
from kaito_controller.sizing.training_options import DEFAULT_BATCH, TrainingOptions
from kaito_controller.sizing.usable_memory import seen_memory

__all__ = ["TrainingOptions", "TuningSize", "plan_tuning"]


@frozen(kw_only=True)
class TuningSize:
    """How a preset is tuned, sizes in bytes.

    `gpus` is what the one pod requests of `resource`, and the number of copies of the model. `ledger` is what each GPU
    holds, of `available_bytes`.
    """

    gpus: int
    resource: str
    dtype: str
    options: TrainingOptions
    available_bytes: int
    ledger: tuple[LedgerEntry, ...]


def plan_tuning(
    preset: Preset, sku: SKU, *, runtime: Runtime, options: TrainingOptions | None = None
) -> TuningSize | DoesNotFit:
    """Whether a copy of the model, and what its training needs, fits on each GPU of one node.

    A CPU runtime is planned as the GPUs that it stands for.
    """
    options = options or TrainingOptions()
    misfit = _untunable(preset) or unsuitable(ModelSizes(preset=preset), sku, runtime, None, EngineFlags())
    if misfit is not None:
        return misfit
    # Slices of a GPU cannot reach one another, so a run takes one.
    gpus = 1 if sku.partition is not None else sku.gpu_count
    try:
        # Adapters are trained on plain numbers: packed weights cannot be differentiated, so they are unpacked.
        plain = evolve(preset, quantisation=None, tensors=()) if preset.quantisation is not None else preset
        dtype = served_precision(plain, sku, runtime, EngineFlags()).dtype
        ledger = training_ledger(plain, options, dtype=dtype, gpus=gpus)
    except UnsupportedPrecision as error:
        return DoesNotFit(reason=Misfit.PRECISION, message=f"{preset.name}: {error}")
    except MissingNumber as error:
        return DoesNotFit(reason=Misfit.NUMBERS, message=f"{preset.name}: {error}")
    available = seen_memory(sku)
    if total(ledger) > available:
        return _too_large(preset, sku, options, ledger, available)
    return TuningSize(
        gpus=gpus,
        resource=sku.partition.resource if sku.partition is not None else runtime.accelerator.resource,
        dtype=dtype,
        options=options,
        available_bytes=available,
        ledger=ledger,
    )


def _untunable(preset: Preset) -> DoesNotFit | None:
    if preset.architecture.encoder is not None:
        message = (
            f"{preset.name} is an encoder-decoder model ({preset.architecture.name}), and tuning teaches models that "
            "continue a text: choose such a model"
        )
        return DoesNotFit(reason=Misfit.WEIGHTS, message=message)
    return None


def _too_large(
    preset: Preset, sku: SKU, options: TrainingOptions, ledger: tuple[LedgerEntry, ...], available: int
) -> DoesNotFit:
    needed = total(ledger)
    largest = sorted(ledger, key=lambda entry: entry.bytes, reverse=True)[:3]
    parts = ", ".join(f"{entry.entry} {gib(entry.bytes)}" for entry in largest)
    cures = ["choose an instance type with larger GPUs (more GPUs do not help: each holds a whole copy)"]
    if options.weight_bits is None:
        cures.append("method qlora")
    if options.batch > DEFAULT_BATCH:
        cures.append(f"a per_device_train_batch_size below {options.batch}")
    if not options.checkpointing:
        cures.append("gradient_checkpointing true")
    cures.append(f"a max_length below {options.length}")
    return DoesNotFit(
        reason=Misfit.GPU_MEMORY,
        message=(
            f"tuning {preset.name} needs {gib(needed)} on each GPU ({parts}, the rest overhead), and {sku.name} has "
            f"{gib(available)}: {', or '.join(cures)}"
        ),
        needed_bytes=needed,
        available_bytes=available,
    )
