"""What the operator writes into a pod and what the server in that pod reads: the one module both houses import.

Standard library only. Arguments without a note are vLLM's own flags and pass straight through to it.
"""

from __future__ import annotations

from typing import Final

# How the server is started: `{python} -m inference_server.serve --model … --port 5000 …`
SERVE_MODULE: Final = "inference_server.serve"

# Where it listens and what it answers.
PORT: Final = 5000
PORT_NAME: Final = "http"
HEALTH_PATH: Final = "/health"
METRICS_PATH: Final = "/metrics"
CHAT_PATH: Final = "/chat"
MODELS_PATH: Final = "/v1/models"
CHAT_COMPLETIONS_PATH: Final = "/v1/chat/completions"
COMPLETIONS_PATH: Final = "/v1/completions"

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
ARG_PERFORMANCE_MODE: Final = "--performance-mode"
# Ours, not vLLM's: a YAML file whose map `vllm` holds further flags (without dashes); they win over the arguments.
ARG_CONFIG_FILE: Final = "--config-file"

# The value of --max-model-len that lets vLLM take the longest context that fits.
MAX_MODEL_LEN_AUTO: Final = "auto"
# The port on which the ranks of one model on several nodes meet.
MASTER_PORT: Final = 29501

# Paths inside the pod.
CONFIG_DIRECTORY: Final = "/mnt/config"
CONFIG_FILE_NAME: Final = "inference_config.yaml"
CONFIG_FILE: Final = f"{CONFIG_DIRECTORY}/{CONFIG_FILE_NAME}"
CONFIG_SECTION: Final = "vllm"
ADAPTERS_DIRECTORY: Final = "/mnt/adapter"
WEIGHTS_DIRECTORY: Final = "/workspace/weights"
SHARED_MEMORY_DIRECTORY: Final = "/dev/shm"  # noqa: S108 (a mount point, not a temporary file)

# Environment.
ENV_HUB_TOKEN: Final = "HF_TOKEN"  # noqa: S105 (the name of a variable)
ENV_POD_INDEX: Final = "POD_INDEX"

# Exit codes, so that a crashing pod says why (sysexits.h values where one fits).
EXIT_OK: Final = 0
EXIT_USAGE: Final = 2  # an argument is unknown, missing or malformed
EXIT_MODEL: Final = 66  # the model cannot be found, read or is not safetensors
EXIT_ENGINE: Final = 70  # the engine could not start or died
EXIT_CONFIG: Final = 78  # the config file is missing, not YAML or names an unknown option
