from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from inference_server import contract
from inference_server.refusal import InputError
from inference_server.tune import arguments, data_files, sources


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b'{"text": "a"}\n'
        self.send_response(200 if "data" in self.path else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def given(folder: Path, *words: str) -> arguments.Arguments:
    return arguments.parse(["fetch", "--model", str(folder / "model"), "--data", str(folder / "data"), *words])


def refused(words: arguments.Arguments) -> InputError:
    with pytest.raises(InputError) as caught:
        sources.bring_data(words)
    return caught.value


ALLOWED = ("--allow-private-urls", "127.0.0.0/8")


def test_two_urls_that_end_in_one_name_are_two_files(tmp_path, url):
    sources.bring_data(
        given(tmp_path, "--data-url", f"{url}/a/data.jsonl?token=1", "--data-url", f"{url}/b/data.jsonl", *ALLOWED)
    )
    files = data_files.choose(tmp_path / "data", path=None, extension=None)
    assert [file.name for file in files] == ["url-0/data.jsonl", "url-1/data.jsonl"]


def test_a_private_address_is_refused_for_good(tmp_path, url):
    error = refused(given(tmp_path, "--data-url", f"{url}/data.jsonl"))
    assert error.exit_code == contract.EXIT_DATA
    assert "127.0.0.1" in str(error)


def test_a_url_without_a_file_is_refused_for_good_and_its_query_kept_secret(tmp_path, url):
    error = refused(given(tmp_path, "--data-url", f"{url}/none.jsonl?token=hidden", *ALLOWED))
    assert error.exit_code == contract.EXIT_DATA
    assert "hidden" not in str(error)


def test_a_secret_that_is_not_mounted_is_refused(tmp_path):
    words = ["--data-image", "127.0.0.1:1/x:1", "--pull-secret", "p", "--secrets", str(tmp_path)]
    assert refused(given(tmp_path, *words)).exit_code == contract.EXIT_DATA


def test_a_model_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError) as caught:
        sources.bring_model(given(tmp_path))
    assert caught.value.exit_code == contract.EXIT_MODEL
