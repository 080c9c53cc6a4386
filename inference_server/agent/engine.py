"""The engine's own API, over loopback: what it lists, and vLLM's two endpoints that load and unload an adapter.

Standard library only: requests of a few hundred bytes to one peer that is always the same.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit

from attrs import frozen

from inference_server import contract
from inference_server.agent.refusal import AdapterRefusedError, Reason, line

LIST_TIMEOUT_S: Final = 5.0
# Reading a large adapter from a cold disk takes its time, and giving up early would only repeat it.
LOAD_TIMEOUT_S: Final = 300.0
MAX_BYTES: Final = 4 * 1024 * 1024


class EngineUnreachableError(Exception):
    """The engine does not answer: it is still starting, or it has ended."""


@frozen(kw_only=True)
class Listing:
    """What /v1/models says: adapters by name with the folder each was loaded from, and the base model's names.

    `serves_api` is false on the later ranks of a model on several nodes: they load what rank 0 is told to.
    """

    adapters: Mapping[str, str]
    base: frozenset[str] = frozenset()
    serves_api: bool = True


@frozen
class Engine:
    """The server at this URL."""

    url: str

    def listing(self) -> Listing:
        """Raises EngineUnreachableError."""
        status, body = self._ask("GET", contract.MODELS_PATH, None, LIST_TIMEOUT_S)
        if status == HTTPStatus.NOT_FOUND:
            return Listing(adapters={}, serves_api=False)
        cards = body.get("data") if isinstance(body, dict) else None
        if status != HTTPStatus.OK or not isinstance(cards, list):
            raise EngineUnreachableError(f"{contract.MODELS_PATH} answered {status}")
        known = [card for card in cards if isinstance(card, dict) and isinstance(card.get("id"), str)]
        return Listing(
            adapters={card["id"]: str(card.get("root")) for card in known if card.get("parent")},
            base=frozenset(card["id"] for card in known if not card.get("parent")),
        )

    def load(self, name: str, folder: str) -> None:
        """Raises AdapterRefusedError with the engine's own words, or EngineUnreachableError."""
        self._tell(contract.LOAD_ADAPTER_PATH, {"lora_name": name, "lora_path": folder})

    def unload(self, name: str) -> None:
        """As above; an adapter that is not there is no error."""
        try:
            self._tell(contract.UNLOAD_ADAPTER_PATH, {"lora_name": name})
        except AdapterRefusedError:
            if name in self.listing().adapters:
                raise

    def _tell(self, path: str, request: Mapping[str, str]) -> None:
        status, body = self._ask("POST", path, request, LOAD_TIMEOUT_S)
        if status == HTTPStatus.OK:
            return
        error = body.get("error") if isinstance(body, dict) else None
        words = error.get("message") if isinstance(error, dict) else None
        if words is None and status == HTTPStatus.NOT_FOUND:
            words = f"it was started without {contract.ENV_RUNTIME_LORA}=True or without {contract.ARG_ENABLE_LORA}"
        raise AdapterRefusedError(
            reason=Reason.LOAD_REFUSED, message=line(f"the engine answered {status}: {words or body}"), retryable=True
        )

    def _ask(self, method: str, path: str, request: Any, timeout_s: float) -> tuple[int, Any]:
        parts = urlsplit(self.url)
        connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port or 80, timeout=timeout_s)
        try:
            body = None if request is None else json.dumps(request)
            connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
            answer = connection.getresponse()
            raw = answer.read(MAX_BYTES + 1)
        except (OSError, http.client.HTTPException) as error:
            raise EngineUnreachableError(f"{self.url}: {line(str(error)) or type(error).__name__}") from error
        finally:
            connection.close()
        try:
            return answer.status, json.loads(raw)
        except (ValueError, RecursionError):
            return answer.status, line(raw[:1000].decode(errors="replace"))
