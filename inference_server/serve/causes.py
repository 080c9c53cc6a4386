"""Why an engine went down, in one line, from the errors that its processes told and from how they ended. Pure.

The texts are those of vLLM 0.32, PyTorch, NCCL and the kernel; where none fits, the first error stands as it was told.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from typing import Final

from attrs import frozen

from inference_server import contract
from inference_server.serve.output import Complaint


@frozen(kw_only=True)
class Cause:
    """One line for the termination message, and the exit code."""

    code: int
    text: str


@frozen(kw_only=True)
class End:
    """How the engine ended: its exit code (minus the signal's number), what was told, what the kernel counted.

    `oom_kills` are processes of this container that the kernel killed for memory meanwhile; `shared_memory` describes
    /dev/shm, as "64 MiB, 0 MiB free".
    """

    code: int
    complaints: Sequence[Complaint] = ()
    oom_kills: int = 0
    shared_memory: str = ""


@frozen
class Rule:
    """A text that tells a cause, what it is a matter of, and what to do. Where it says `.*`, the text is cut there."""

    code: int
    what: str
    pattern: re.Pattern[str]
    remedy: str


def _rule(code: int, what: str, pattern: str, remedy: str) -> Rule:
    return Rule(code, what, re.compile(pattern), remedy)


MEMORY, MODEL = contract.EXIT_MEMORY, contract.EXIT_MODEL
# In order: the first rule that fits any of the errors tells the cause.
RULES: Final = (
    _rule(
        MEMORY,
        contract.SHARED_MEMORY_DIRECTORY,
        r".*?NCCL WARN (?P<told>.*shared memory.*(?:No space left|size \d+).*|Call to posix_fallocate failed.*)"
        r"|OSError: (?P<told2>\[Errno 28\] No space left on device: '/?(?:dev/shm|psm_|torch_|nccl).*)"
        r"|(?P<told3>.*insufficient shared memory \(shm\).*)|(?P<told4>Bus error.*|Fatal Python error: Bus error.*)",
        "give the pod a larger memory volume there",
    ),
    _rule(
        MEMORY,
        "memory of the GPU",
        r".*?(?P<told>CUDA out of memory.*|CUDA error: out of memory.*|Free memory on device.*|HIP out of memory.*"
        r"|CUBLAS_STATUS_ALLOC_FAILED.*|No available memory for the cache blocks.*)",
        "lower max-model-len, max-num-seqs or gpu-memory-utilization, or take a larger GPU",
    ),
    _rule(
        MEMORY,
        "memory of the KV cache",
        r"ValueError: (?P<told>To serve at least one request with .*"
        r"|The model's max seq len .* is larger than the maximum number of tokens.*)",
        "lower max-model-len, or give more memory: gpu-memory-utilization, VLLM_CPU_KVCACHE_SPACE",
    ),
    _rule(
        MEMORY,
        "memory of the host",
        r".*?(?P<told>DefaultCPUAllocator: .*|Available memory on node .*|\[Errno 12\].*|CUDA error: host memory.*"
        r"|Unable to allocate .* for an array.*|not enough memory: you tried to allocate.*)"
        r"|(?P<told2>MemoryError.*)",
        "give the pod more memory",
    ),
    _rule(
        MODEL,
        "weights",
        r"(?:safetensors\.?\S*)?SafetensorError: (?P<told>.*)",
        "the file is broken or cut off: fetch it again",
    ),
    _rule(
        MODEL,
        "weights",
        r"ValueError: (?P<told>Following weights were not initialized.*|.*no module or parameter named.*)"
        r"|(?:ValueError|RuntimeError): (?P<told2>Cannot find any model weights.*|.*shape mismatch.*)"
        r"|AssertionError: (?P<told3>Attempted to load weight.*)|RuntimeError: (?P<told4>The size of tensor a.*)"
        r"|KeyError: (?P<told5>'(?:layers|model|lm_head|embed)\S*weight\S*)",
        "the weights do not belong to this config.json: fetch both from one revision",
    ),
    _rule(
        MODEL,
        "architecture",
        r".*?(?P<told>Model architectures \[.*?\] (?:are not supported|failed to be inspected)"
        r"|The checkpoint you are trying to load has model type `.*?` but Transformers does not recognize"
        r"|\S+ has no vLLM implementation[^.]*)",
        "this engine cannot serve it: choose another model, or an image with a newer engine",
    ),
    _rule(
        contract.EXIT_USAGE,
        contract.ARG_DTYPE,
        r".*?(?P<told>Bfloat16 is only supported on GPUs with compute capability of at least .*|Unknown dtype: .*"
        r"|The model type \S* does not support float16.*|torch\.\w+ is not supported for .*"
        r"|dtype '?\S+ is not supported.*)",
        "choose another dtype, as float16",
    ),
    _rule(
        contract.EXIT_USAGE,
        "quantization",
        r".*?(?P<told>The quantization method .*|\S+ quantization is currently not supported.*"
        r"|Unknown quantization method.*|Quantization method specified in the model config .*)",
        "choose a checkpoint or a GPU that go together",
    ),
    _rule(
        contract.EXIT_USAGE,
        contract.ARG_MAX_MODEL_LEN,
        r".*?(?P<told>User-specified max_model_len .*?is greater than the derived max_model_len .*?\))",
        "lower it",
    ),
    _rule(
        contract.EXIT_ENGINE,
        "port",
        r"OSError: (?P<told>\[Errno 98\].*)|.*?(?P<told2>EADDRINUSE.*|address already in use.*)",
        "another process of this pod or node listens there: end it, or keep pods with the host's network apart",
    ),
    _rule(
        MODEL,
        "model",
        r".*?(?P<told>Cannot access gated repo.*|40[134] Client Error.*|Repository Not Found.*|Revision Not Found.*)",
        "check its name, and the token in the Secret that modelAccessSecret names",
    ),
    _rule(
        contract.EXIT_UNAVAILABLE,
        "hub",
        r".*?(?P<told>We couldn't connect to '.*?'|Cannot reach https?://\S+|outgoing traffic has been disabled.*"
        r"|LocalEntryNotFoundError.*|Max retries exceeded with url.*)",
        "the model is not on this machine and the hub does not answer: check the network, or mount the model",
    ),
    _rule(
        contract.EXIT_ENGINE,
        "GPU",
        r".*?(?P<told>no kernel image is available for execution on the device.*|Failed to infer device type.*"
        r"|CUDA driver version is insufficient.*|No CUDA GPUs are available.*|uncorrectable ECC error.*|Xid .*)",
        "check the driver, the GPU's health and that the image is made for it",
    ),
)
# Its processes name themselves: `EngineCore_DP0`, `Worker_TP1`; the serving ones are `APIServer` or `ApiServer_0`.
ENGINE_PROCESS: Final = re.compile(r"(?!api)\w", re.IGNORECASE)
# What vLLM's processes say when another one has failed: never the cause.
SECOND_HAND: Final = re.compile(
    r".*(?:See root cause above|See stack trace|EngineDeadError|Executor failed|WorkerProc .*failed)"
)
FAILED_PROCESSES: Final = re.compile(r"Failed core proc\(s\): \{.*?: -(?P<signal>\d+)")


def cause(end: End, told: str) -> Cause:
    """The cause of an end that nobody asked for. `told` is what the process that failed says itself."""
    if end.oom_kills:
        text = "memory of the host: the kernel ended a process of this container, whose memory limit is reached"
        return Cause(code=MEMORY, text=f"{text}; raise the limit or lower what the engine takes")
    texts = [complaint.text for complaint in end.complaints] + [told]
    for rule in RULES:
        for text in texts:
            found = rule.pattern.match(text)
            if found is not None:
                return Cause(code=rule.code, text=_line(rule, found, end))
    return _by_signal(end, texts) or _unknown(end, told)


def _line(rule: Rule, found: re.Match[str], end: End) -> str:
    said = next(part for part in found.groups() if part is not None)
    room = f" ({end.shared_memory})" if rule.what == contract.SHARED_MEMORY_DIRECTORY and end.shared_memory else ""
    return f"{rule.what}{room}: {_short(said)}; {rule.remedy}"


def _short(said: str, limit: int = 300) -> str:
    """As much as helps: PyTorch goes on to advise on its allocator, vLLM to list all that it supports."""
    short = re.split(
        r" \[type=| Process \d+ has| Including non-PyTorch| Of the allocated| If reserved| Supported arch| See http",
        said,
    )[0]
    return short.strip().rstrip(".;:,")[:limit]


def _by_signal(end: End, texts: Sequence[str]) -> Cause | None:
    """A process that was ended by a signal tells nothing itself: vLLM, or its exit code, tells which."""
    inner = next((found for found in map(FAILED_PROCESSES.search, texts) if found), None)
    number = int(inner["signal"]) if inner else -end.code
    if number == signal.SIGBUS:
        room = f" ({end.shared_memory})" if end.shared_memory else ""
        text = f"{contract.SHARED_MEMORY_DIRECTORY}{room}: an engine process ended with a bus error, as when it is full"
        return Cause(code=MEMORY, text=f"{text}; give the pod a larger memory volume there")
    if number == signal.SIGKILL:
        text = "an engine process was killed (SIGKILL), as the kernel does when memory runs out"
        return Cause(code=contract.EXIT_ENGINE, text=f"{text}; look at the node's events and memory")
    if number > 0 and number in set(signal.Signals):
        text = f"an engine process crashed in native code ({signal.Signals(number).name})"
        return Cause(code=contract.EXIT_ENGINE, text=f"{text}; its last lines above say where")
    return None


def _unknown(end: End, told: str) -> Cause:
    """The first error of a process of the engine, else what the serving process says, else any error at all.

    In that order: what the serving process printed may be about a request of hours ago.
    """
    own = [one.text for one in end.complaints if not SECOND_HAND.match(one.text)]
    engine = [one.text for one in end.complaints if one.text in own and ENGINE_PROCESS.match(one.process)]
    if not engine and told and not SECOND_HAND.match(told):
        return Cause(code=contract.EXIT_ENGINE, text=told)
    first = next(iter(engine or own), None)
    text = "the engine died; its own lines above say why" if first is None else f"the engine failed: {_short(first)}"
    return Cause(code=contract.EXIT_ENGINE, text=text)
