"""Which clouds there are. To add one: write its package and one line in `PROVIDERS`.

A provider's package has a module ``provider`` with ``open_provider(context: ProviderContext) -> CloudProvider``. It is
imported only when chosen, so one cloud's client costs nothing to the users of another.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, cast

from attrs import field, frozen

from kaito_controller.providers.protocol import CloudProvider

if TYPE_CHECKING:
    from kaito_controller.catalog.loader import Catalog
    from kaito_controller.machinery.cache.cache import Cache
    from kaito_controller.machinery.client.client import Client
    from kaito_controller.machinery.clock import Clock


@frozen(kw_only=True)
class ProviderContext:
    """What a provider may use: the cluster (client for writes, cache for reads), time, the SKU data and its options.

    ``options`` holds the provider's own settings by flag name without the dashes and the provider's name, for example
    ``{"cluster": "/path/cluster.json", "max-nodes": "2"}`` for ``--local-cluster`` and ``--local-max-nodes``.
    """

    client: Client
    cache: Cache
    clock: Clock
    catalog: Catalog
    options: Mapping[str, str] = field(factory=dict)


@frozen(kw_only=True)
class Registered:
    """A provider that can be chosen: its name, what it is in one line, and the module that opens it."""

    name: str
    summary: str
    module: str


PROVIDERS: Mapping[str, Registered] = MappingProxyType(
    {
        entry.name: entry
        for entry in (
            Registered(
                name="local",
                summary="this machine is the cloud: every NodeClaim becomes a real kubelet and containerd here",
                module="kaito_controller.providers.local.provider",
            ),
            Registered(
                name="kwok",
                summary="simulated nodes: every NodeClaim becomes a Node object whose kubelet is played by kwok",
                module="kaito_controller.providers.kwok.provider",
            ),
        )
    }
)


class UnknownProvider(ValueError):  # noqa: N818 - says what the name is
    """The name of a provider that does not exist; the message offers the nearest one."""

    def __init__(self, name: str) -> None:
        near = difflib.get_close_matches(name, PROVIDERS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(sorted(PROVIDERS))}."
        super().__init__(f"--provider: there is no provider {name!r}; {hint}")


def open_provider(name: str, context: ProviderContext) -> CloudProvider:
    """Open the provider called ``name``.

    Raises `UnknownProvider`, or ValueError when one of its options is wrong or a package that it needs is missing.
    """
    entry = PROVIDERS.get(name)
    if entry is None:
        raise UnknownProvider(name)
    return cast("CloudProvider", _module(entry).open_provider(context))


def _module(entry: Registered) -> ModuleType:
    """Import the provider; each client of a cloud is an extra, so that nobody installs those of the others."""
    try:
        return import_module(entry.module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("kaito_controller"):
            raise
        missing = error.name.partition(".")[0]
        raise ValueError(
            f"the package {missing} is missing; install it with pip install 'kaito-controller[{entry.name}]'."
        ) from error
