"""What administrates the engine answers the agent in the same pod alone: to everybody else it is not there.

The agent asks from the pod's own loopback. A request through the Service, a node port or the API server's proxy has
crossed the pod's network interface: kube-proxy rewrites where a packet goes to, and where it comes from at most to an
address of the node; and whoever forges a loopback address never completes TCP's handshake, since the answer goes to
loopback. Two ways around are closed as well. uvicorn would take a peer's word for its address from `X-Forwarded-For`:
it is told to trust nobody with it (see `distrust_forwarded_addresses`). And a proxy in the same pod, as service meshes
have one, asks from loopback for others: it names itself by a header, or comes from another address of 127.0.0.0/8.
"""

from __future__ import annotations

import os
from typing import Final

from attrs import frozen

from inference_server.refusal import InputError
from inference_server.serve.asgi import Application, Receive, Scope, Send, path_of, refused, reply

NOT_FOUND: Final = 404
LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "::ffff:127.0.0.1"})
# Headers by which a proxy tells that it asks for somebody else.
PROXY_HEADERS: Final = frozenset(
    {
        b"forwarded",
        b"via",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-proto",
        b"x-real-ip",
        b"x-envoy-peer-metadata",
    }
)
# vLLM 0.32's routes that change the engine or tell of its inside: adapters (its own names and SageMaker's), the
# profiler, scaling, what VLLM_SERVER_DEV_MODE adds, and what reinforcement learning does to weights.
CLOSED: Final = frozenset(
    {
        *("/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/adapters"),
        *("/start_profile", "/stop_profile", "/scale_elastic_ep", "/is_scaling_elastic_ep"),
        *("/server_info", "/collective_rpc", "/reset_prefix_cache", "/reset_mm_cache", "/reset_encoder_cache"),
        *("/sleep", "/wake_up", "/is_sleeping", "/release_kv_cache_memory"),
        *("/pause", "/resume", "/is_paused", "/abort_requests", "/inference/v1/abort_requests"),
        *("/init_weight_transfer_engine", "/shutdown_weight_transfer_engine", "/start_weight_update"),
        *("/start_draft_weight_update", "/update_weights", "/finish_weight_update", "/update_weight_version"),
        *("/weight_info", "/weight_checker", "/get_world_size"),
    }
)
CLOSED_BELOW: Final = ("/adapters/", "/fault_tolerance/")


def distrust_forwarded_addresses() -> None:
    """Makes uvicorn report the TCP peer, whatever a request's headers say, here and in processes started from here."""
    os.environ["FORWARDED_ALLOW_IPS"] = ""


def is_closed(path: str) -> bool:
    """Whether the path administrates."""
    plain = path.rstrip("/")
    return plain in CLOSED or path.startswith(CLOSED_BELOW)


def is_local(scope: Scope) -> bool:
    """Whether the request comes from a process of this pod that asks for itself."""
    peer = scope.get("client")
    if not peer or peer[0] not in LOOPBACK:
        return False
    return not any(name in PROXY_HEADERS for name, _ in scope["headers"])


@frozen
class Administration:
    """The layer itself. vLLM makes one around its application, by the name given with `--middleware`."""

    app: Application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers 404 where an administrating path is asked for from outside; everything else goes through."""
        if scope["type"] == "http" and (is_closed(path_of(scope)) or is_closed(scope["path"])) and not is_local(scope):
            refusal = InputError(field=scope["path"], rule="a path that this server offers", found="another")
            await reply(refused(NOT_FOUND, refusal), send)
            return
        await self.app(scope, receive, send)
