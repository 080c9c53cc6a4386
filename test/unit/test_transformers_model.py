"""What the transformers runtime says of a hub that does not give it the model."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiohttp import web

from inference_server import contract
from inference_server.refusal import InputError
from inference_server.serve_transformers import model, options
from kaito_controller.testing.loopback import listening
from kaito_controller.testing.threaded import threaded


@pytest.fixture(autouse=True)
def nothing_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("HF_TOKEN", raising=False)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_model_that_the_hub_keeps_to_itself_was_waited_for_and_its_url_told(tmp_path, monkeypatch, status):
    async def answer(request: web.Request) -> web.StreamResponse:
        if not request.path.startswith("/store"):
            raise web.HTTPFound(str(request.url.origin() / "store") + "?signature=sesame")
        return web.Response(status=status)

    with threaded(listening(answer)) as url:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
        monkeypatch.setenv("HF_ENDPOINT", url)
        chosen = options.read(["--model", "org/model", "--download-dir", str(tmp_path / "weights")])
        with pytest.raises(InputError) as caught:
            model.load(chosen)
    assert caught.value.exit_code == contract.EXIT_MODEL
    assert "sesame" not in str(caught.value)
    assert str(status) in caught.value.found
