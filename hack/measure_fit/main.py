"""``hack/measure-fit``: starts a real engine from a config.json alone and compares its memory with our ledger."""

from __future__ import annotations

import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NoReturn

from attrs import evolve

from kaito_controller.catalog.config_json.values import ConfigProblem
from kaito_controller.catalog.hardware import SKU
from kaito_controller.catalog.loader import Catalog, UnknownName, load
from kaito_controller.catalog.model import EngineDevice, Runtime
from kaito_controller.sizing.cache_groups import UnsupportedCache
from kaito_controller.sizing.flags import FlagProblem, read_flags
from kaito_controller.sizing.missing import MissingNumber
from kaito_controller.sizing.precision import UnsupportedPrecision
from kaito_controller.sources.errors import SourceError
from kaito_controller.sources.model_files import CONFIG
from measure_fit.comparison import Figures, compare, table
from measure_fit.engine_failure import failure_of
from measure_fit.engine_run import Ended, Start, engine_version, interpreter, run_engine
from measure_fit.engine_words import asked_words, options_of, start_words
from measure_fit.gpu import Hardware, found_gpus, named_gpu, no_gpu
from measure_fit.measurement import measured
from measure_fit.model_config import MeasuredModel, read_model_config
from measure_fit.options import Options, read_options
from measure_fit.prediction import predict
from measure_fit.problem import MeasureProblem
from measure_fit.record import Record, append, refuse_unwritable

_RUNTIMES: Final[Mapping[EngineDevice, str]] = {EngineDevice.CUDA: "vllm-cuda", EngineDevice.CPU: "vllm-cpu-host"}
_REFUSALS: Final = (
    MeasureProblem, SourceError, ConfigProblem, UnknownName, FlagProblem, UnsupportedPrecision, UnsupportedCache,
    MissingNumber,
)  # fmt: skip
_INTERRUPTED: Final = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Measure as the command line says; 1 where nothing could be measured."""
    options = read_options(sys.argv[1:] if argv is None else argv)
    try:
        _measure(options)
    except _REFUSALS as problem:
        print(f"measure-fit: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED
    return 0


def _measure(options: Options) -> None:
    catalog = load()
    model = read_model_config(options.config)
    python = interpreter(options.python)
    version = engine_version(python)
    runtime = evolve(catalog.runtime(_RUNTIMES[options.device]), engine_version=version)
    hardware = _hardware(options, catalog, runtime)
    words = _words(options, runtime, hardware.sku)
    record = Record(
        date=datetime.now(UTC),
        version=version,
        hardware=hardware,
        words=tuple(words),
        model=model,
        prediction=predict(model.preset, hardware.sku, runtime, read_flags(options_of(words))),
    )
    if options.data is not None:
        refuse_unwritable(options.data)
    ended = _run(options, python, runtime, model, words)
    if ended.answer is None:
        _fail(options, ended, record)
    found = measured(ended.log, ended.answer)
    _show(record, found)
    _keep(options, evolve(record, measured=found))


def _hardware(options: Options, catalog: Catalog, runtime: Runtime) -> Hardware:
    if options.device is EngineDevice.CPU:
        if options.tensor > 1 or options.gpu is not None:
            raise MeasureProblem("on the CPU there is one rank and no GPU: leave out --tensor-parallel and --gpu")
        return no_gpu(runtime.accelerator.resource)
    if options.gpu is not None:
        return named_gpu(options.gpu, catalog, options.tensor)
    return found_gpus(catalog, options.tensor)


def _words(options: Options, runtime: Runtime, sku: SKU) -> list[str]:
    return asked_words(
        runtime,
        sku,
        utilization=options.utilization,
        max_model_len=options.max_model_len,
        tensor=options.tensor,
        more=options.more,
    )


def _run(options: Options, python: Path, runtime: Runtime, model: MeasuredModel, words: Sequence[str]) -> Ended:
    with tempfile.TemporaryDirectory(prefix="measure-fit-") as scratch:
        folder = options.config
        if not folder.is_dir():
            folder = Path(scratch, "model")
            folder.mkdir()
            (folder / CONFIG).write_bytes(model.raw)
        print(f"starting the engine, for at most {options.limit_s:g} s", file=sys.stderr)
        start = Start(
            python=python,
            device=options.device,
            words=start_words(str(folder.resolve()), words),
            environment={name: value for name, value in runtime.environment.items() if name.startswith("VLLM_")},
            folder=Path(scratch),
            log=options.log or Path(scratch, "engine.log"),
            limit_s=options.limit_s,
        )
        return run_engine(start)


def _fail(options: Options, ended: Ended, record: Record) -> NoReturn:
    """Tell why the engine did not start; that it ran out of memory is a finding too, and is kept."""
    failure = failure_of(ended.text, ended.code)
    if failure.memory and record.prediction.on_gpu:
        _keep(options, evolve(record, failure=failure.sentence))
    raise MeasureProblem(f"the engine did not start: {failure.sentence}")


def _show(record: Record, found: Figures) -> None:
    prediction = record.prediction
    print(f"{record.model.preset.architecture.name} on {record.hardware.sku.gpu_model}, vLLM {record.version}")
    if prediction.on_gpu and not prediction.fit.fits:
        print("the plan says that this does not fit")
    print(table("by the plan", compare(prediction.figures, found)))
    given = prediction.given(found)
    if given is not None:
        print(table("in the engine's own KV space", compare(given, found)))


def _keep(options: Options, record: Record) -> None:
    if options.data is not None:
        append(options.data, record)


if __name__ == "__main__":
    # An end that is asked for takes the engine's processes along, as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    sys.exit(main())
