"""Which proxy a transport takes from the environment."""

from __future__ import annotations

import pytest

from kaito_controller.machinery.rest.proxy import proxy_of_environment

NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")


@pytest.mark.parametrize(
    ("environment", "url", "proxy"),
    [
        ({}, "https://api:6443", None),
        ({"HTTPS_PROXY": "http://proxy:3128"}, "https://api:6443", "http://proxy:3128"),
        ({"HTTPS_PROXY": "proxy:3128"}, "https://api:6443", "http://proxy:3128"),
        ({"HTTP_PROXY": "http://proxy:3128"}, "https://api:6443", None),
        ({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "api"}, "https://api:6443", None),
        ({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": ".cluster.local"}, "https://a.cluster.local", None),
        ({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "10.0.0.1"}, "https://10.0.0.2:443", "http://proxy:3128"),
    ],
)
def test_the_environment_names_the_proxy(
    environment: dict[str, str], url: str, proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By scheme, with exceptions, and with a scheme of its own put before a bare address."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert proxy_of_environment(url) == proxy
