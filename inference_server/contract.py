"""What the operator writes into a pod and what the server in that pod reads: the one module both houses import.

Standard library only. Arguments without a note are vLLM's own flags and pass straight through to it.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

# How the server is started: `{python} -m inference_server.serve --model … --port 5000 …`
SERVE_MODULE: Final = "inference_server.serve"
# The same for models that vLLM cannot serve, with transformers' own generation; it takes part of the arguments.
SERVE_TRANSFORMERS_MODULE: Final = "inference_server.serve_transformers"

# Where it listens and what it answers.
PORT: Final = 5000
PORT_NAME: Final = "http"
HEALTH_PATH: Final = "/health"
METRICS_PATH: Final = "/metrics"
CHAT_PATH: Final = "/chat"
MODELS_PATH: Final = "/v1/models"
CHAT_COMPLETIONS_PATH: Final = "/v1/chat/completions"
COMPLETIONS_PATH: Final = "/v1/completions"
EMBEDDINGS_PATH: Final = "/v1/embeddings"
TOKENIZE_PATH: Final = "/tokenize"

# The agent beside the server, in a container of its own: it fetches weights and adapters, keeps the engine to the list
# in WANTED_FILE, and tells on REPORT_PATH how far it is. `{python} -m inference_server.agent [ARG VALUE]…`
AGENT_MODULE: Final = "inference_server.agent"
AGENT_CONTAINER: Final = "agent"
AGENT_PORT: Final = 5001
REPORT_PATH: Final = "/report"
REPORT_MAX_BYTES: Final = 64 * 1024
# An adapter's source is told whole up to here, so that one source is never taken for another that begins alike.
REPORT_SOURCE_LENGTH: Final = 1024
# The engine's own API for adapters, which the agent alone may reach, and the variable that lets vLLM serve it.
LOAD_ADAPTER_PATH: Final = "/v1/load_lora_adapter"
UNLOAD_ADAPTER_PATH: Final = "/v1/unload_lora_adapter"
ENV_RUNTIME_LORA: Final = "VLLM_ALLOW_RUNTIME_LORA_UPDATING"
# What the report says of an adapter.
STATE_PENDING: Final = "Pending"
STATE_LOADING: Final = "Loading"
STATE_LOADED: Final = "Loaded"
STATE_FAILED: Final = "Failed"
REASON_RANK_TOO_HIGH: Final = "RankTooHigh"

# How a serving pod ends, in seconds from SIGTERM on: it is not ready any more but still serves whoever has not heard of
# it; then what runs may finish; then the engine gives back the GPU; then the kubelet kills what is left.
ENDPOINT_REMOVAL_SECONDS: Final = 3
DRAIN_SECONDS: Final = 90
TERMINATION_SECONDS: Final = 120

# Fine-tuning, in a Job: first `{python} -m inference_server.tune fetch` in an init container, which brings the data and
# refuses what cannot be learnt from, then `{python} -m inference_server.tune run`, which trains, and saves or pushes.
TUNE_MODULE: Final = "inference_server.tune"
TUNE_FETCH: Final = "fetch"
TUNE_RUN: Final = "run"
TUNE_FETCH_CONTAINER: Final = "fetch"
TUNE_CONTAINER: Final = "tune"
TUNE_PORT: Final = PORT
# When `run` ends well, the last line of its termination message is its last report, as REPORT_PATH answered it.

# Arguments. The value follows as a word of its own (`--model`, `NAME`); no argument ever passes through a shell.
ARG_MODEL: Final = "--model"
ARG_SERVED_MODEL_NAME: Final = "--served-model-name"
ARG_HOST: Final = "--host"
ARG_PORT: Final = "--port"
ARG_MAX_MODEL_LEN: Final = "--max-model-len"
ARG_DTYPE: Final = "--dtype"
ARG_REVISION: Final = "--revision"
ARG_DOWNLOAD_DIR: Final = "--download-dir"
ARG_TENSOR_PARALLEL_SIZE: Final = "--tensor-parallel-size"
ARG_PIPELINE_PARALLEL_SIZE: Final = "--pipeline-parallel-size"
ARG_DATA_PARALLEL_SIZE: Final = "--data-parallel-size"
ARG_DISTRIBUTED_EXECUTOR_BACKEND: Final = "--distributed-executor-backend"
# Several nodes without an extra cluster layer: vLLM's "mp" backend, one process group over these. Rank 0 serves the
# API; the others run headless and answer nothing but HEALTH_PATH.
ARG_NODE_COUNT: Final = "--nnodes"
ARG_NODE_RANK: Final = "--node-rank"
ARG_MASTER_ADDR: Final = "--master-addr"
ARG_MASTER_PORT: Final = "--master-port"
ARG_HEADLESS: Final = "--headless"
ARG_GPU_MEMORY_UTILIZATION: Final = "--gpu-memory-utilization"
ARG_ENFORCE_EAGER: Final = "--enforce-eager"
ARG_LOAD_FORMAT: Final = "--load-format"
ARG_CONFIG_FORMAT: Final = "--config-format"
ARG_TOKENIZER_MODE: Final = "--tokenizer-mode"
ARG_CHAT_TEMPLATE: Final = "--chat-template"
ARG_TOOL_CALL_PARSER: Final = "--tool-call-parser"
ARG_ENABLE_AUTO_TOOL_CHOICE: Final = "--enable-auto-tool-choice"
ARG_ENABLE_LORA: Final = "--enable-lora"
ARG_MAX_LORAS: Final = "--max-loras"
ARG_MAX_CPU_LORAS: Final = "--max-cpu-loras"
ARG_MAX_LORA_RANK: Final = "--max-lora-rank"
ARG_PERFORMANCE_MODE: Final = "--performance-mode"
ARG_TRUST_REMOTE_CODE: Final = "--trust-remote-code"
# The transformers runtime's: how many requests may wait for the one that is answered; one more is told to come back.
ARG_MAX_WAITING: Final = "--max-waiting"
# Ours, not vLLM's: a YAML file whose map `vllm` holds further flags (without dashes); they win over the arguments.
ARG_CONFIG_FILE: Final = "--config-file"
# Ours: the URL of the agent on loopback, which fetches the model's files. The server waits until they are there, and
# takes the folder that the agent names instead of ARG_MODEL's.
ARG_WEIGHTS_AGENT: Final = "--weights-agent"
# Ours: the model's class as its config.json names it, known before the file is there. The server uses its wait to look
# at what the engine has for it.
ARG_ARCHITECTURE: Final = "--architecture"

# The agent's.
ARG_ENGINE: Final = "--engine"  # the server's URL on loopback
ARG_WANTED: Final = "--wanted"  # the file of wanted adapters
ARG_CACHE: Final = "--cache"  # the folder that adapters are fetched to
# Where the model's files come from: hf://NAME[@REVISION] or oci://NAME[:TAG][@DIGEST].
ARG_WEIGHTS: Final = "--weights"
ARG_WEIGHTS_DIRECTORY: Final = "--weights-directory"  # where they go: one folder for each source and revision
# Where the agents of a model's pods are, with `{}` for their rank; ARG_NODE_COUNT says how many they are, ARG_NODE_RANK
# which of them this one is. All of them take one revision.
ARG_WEIGHTS_PEERS: Final = "--weights-peers"
ARG_WEIGHTS_CODE: Final = "--weights-code"  # `true`: the model's own Python files as well
ARG_WEIGHTS_FORMAT: Final = "--weights-format"  # hf or mistral, of which a repository may hold both
ARG_SECRETS: Final = "--secrets"  # the folder that holds one folder for each mounted Secret
ARG_ALLOW_PRIVATE_URLS: Final = "--allow-private-urls"  # a CIDR that addresses may lie in; again for more
# Tuning's.
ARG_METHOD: Final = "--method"  # lora or qlora
ARG_DATA: Final = "--data"  # the folder that holds the data; `fetch` fills it
ARG_DATA_URL: Final = "--data-url"  # a file to download; again for more
ARG_DATA_IMAGE: Final = "--data-image"  # an OCI image or artifact with the data below /data
ARG_OUTPUT: Final = "--output"  # the folder for checkpoints and the adapter
ARG_OUTPUT_IMAGE: Final = "--output-image"  # where to push the adapter
ARG_PULL_SECRET: Final = "--pull-secret"  # noqa: S105 (the name of a folder of ARG_SECRETS; again for more)
ARG_PUSH_SECRET: Final = "--push-secret"  # noqa: S105 (as above, for ARG_OUTPUT_IMAGE)
ARG_MODEL_NAME: Final = "--model-name"  # the preset, as the result is to name its base model
ARG_PROCESSES: Final = "--processes"  # how many train together; without it one for each GPU

# The value of --max-model-len that lets vLLM take the longest context that fits.
MAX_MODEL_LEN_AUTO: Final = "auto"
# The port on which the ranks of one model on several nodes meet.
MASTER_PORT: Final = 29501

# Paths inside the pod.
CONFIG_DIRECTORY: Final = "/mnt/config"
CONFIG_FILE_NAME: Final = "inference_config.yaml"
CONFIG_FILE: Final = f"{CONFIG_DIRECTORY}/{CONFIG_FILE_NAME}"
CONFIG_SECTION: Final = "vllm"
ADAPTERS_DIRECTORY: Final = "/mnt/adapter"  # adapters as the engine reads them, one folder each
WANTED_DIRECTORY: Final = "/mnt/wanted"
WANTED_FILE_NAME: Final = "adapters.json"
WANTED_FILE: Final = f"{WANTED_DIRECTORY}/{WANTED_FILE_NAME}"
ADAPTER_VOLUMES_DIRECTORY: Final = "/mnt/adapter-volumes"  # the user's volumes, one folder for each adapter
SECRETS_DIRECTORY: Final = "/mnt/secrets"  # one folder for each Secret that opens a registry
SECRET_DOCKER_CONFIG: Final = ".dockerconfigjson"  # noqa: S105 (a key of a Secret)
SECRET_CERTIFICATE: Final = "ca.crt"  # noqa: S105 (optional: who signed the registry's certificate)
TUNING_CONFIG_FILE_NAME: Final = "training_config.yaml"
TUNING_CONFIG_FILE: Final = f"{CONFIG_DIRECTORY}/{TUNING_CONFIG_FILE_NAME}"
DATA_DIRECTORY: Final = "/mnt/data"
RESULTS_DIRECTORY: Final = "/mnt/results"
TUNING_COMPLETED_FILE_NAME: Final = "fine_tuning_completed.txt"  # appears with the adapter, as KAITO writes it
TUNING_REPORT_FILE_NAME: Final = "tuning_report.json"  # the last report, beside the adapter
WEIGHTS_DIRECTORY: Final = "/workspace/weights"
SHARED_MEMORY_DIRECTORY: Final = "/dev/shm"  # noqa: S108 (a mount point, not a temporary file)

# The states of the files in the agent's report.
WEIGHTS_FETCHING: Final = "Fetching"
WEIGHTS_READY: Final = "Ready"
WEIGHTS_FAILED: Final = "Failed"

# Environment.
ENV_HUB_ADDRESS: Final = "HF_ENDPOINT"
ENV_HUB_HOME: Final = "HF_HOME"
ENV_HUB_OFFLINE: Final = "HF_HUB_OFFLINE"
ENV_HUB_TOKEN: Final = "HF_TOKEN"  # noqa: S105 (the name of a variable)
ENV_POD_INDEX: Final = "POD_INDEX"

# What images of adapters and of data hold, as KAITO packs them, and what names an adapter's base model on its manifest.
IMAGE_DATA_DIRECTORY: Final = "data"
ANNOTATION_MODEL_NAME: Final = "sh.kaito.model.name"

# Exit codes, so that a crashing pod says why (sysexits.h values where one fits).
EXIT_OK: Final = 0
EXIT_USAGE: Final = 2  # an argument is unknown, missing or malformed
EXIT_DATA: Final = 65  # the data cannot be learnt from: a broken line, no line, a form nobody knows
EXIT_MODEL: Final = 66  # the model cannot be found, read or is not safetensors
EXIT_ENGINE: Final = 70  # the engine could not start or died
EXIT_MEMORY: Final = 71  # memory does not suffice: the GPU's, the host's, the KV cache's or that of /dev/shm
EXIT_OUTPUT: Final = 73  # the result cannot be saved or pushed
EXIT_STOPPED: Final = 75  # stopped by a signal before the end; the next try goes on from the last checkpoint
EXIT_UNAVAILABLE: Final = 69  # a hub, registry or web server did not answer, so another try may help
EXIT_CONFIG: Final = 78  # the config file is missing, not YAML or names an unknown option


def weights_folder_name(source: str) -> str:
    """The name of the folder below WEIGHTS_DIRECTORY that holds a source's files: readable, and no other source's."""
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", source.partition("://")[2])[:100].strip("-.")
    return f"{readable}-{hashlib.sha256(source.encode()).hexdigest()[:12]}"
