"""THE list of controllers: to add one, write its package and a line here. Wiring and the manifests are made from it."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from random import Random
from types import MappingProxyType
from typing import Final

from attrs import frozen

from kaito_controller.app.models import ModelLookups
from kaito_controller.app.options import NodeProvisioner, Options, OptionsError
from kaito_controller.app.reports import PodReports
from kaito_controller.catalog.hardware import Price
from kaito_controller.catalog.loader import Catalog, UnknownRuntime
from kaito_controller.catalog.model import EngineDevice, Runtime
from kaito_controller.controllers.nodeclaim import controller as nodeclaim
from kaito_controller.controllers.workspace import controller as workspace
from kaito_controller.controllers.workspace.plan import Settings
from kaito_controller.controllers.workspace.watches import watches
from kaito_controller.kube.rbac import Rule
from kaito_controller.machinery.backoff import ItemBackoff
from kaito_controller.machinery.cache.cache import Cache
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.clock import Clock
from kaito_controller.machinery.controller.feed import TaskFeed
from kaito_controller.machinery.events.recorder import EventRecorder
from kaito_controller.machinery.manager.parts import Runnable
from kaito_controller.machinery.metrics import Metrics
from kaito_controller.providers.protocol import KAITO_NODE_CLASS, CloudProvider
from kaito_controller.sizing.lowest_prices import lowest_prices
from kaito_controller.sources.errors import SourceError
from kaito_controller.sources.prices import PriceFile
from kaito_controller.workloads.runtimes.parameters import RuntimeParameterError, resolve_parameters

WORKSPACE_WORKERS: Final = 8
SLOWEST_RETRY_S: Final = 60.0
"""What stood in the way may go without a word to us: a stranger's Service, a quota, an API server's outage."""


@frozen(kw_only=True)
class Parts:
    """What every controller is built from."""

    options: Options
    client: Client
    cache: Cache
    clock: Clock
    metrics: Metrics
    recorder: EventRecorder
    catalog: Catalog
    provider: CloudProvider | None


@frozen(kw_only=True)
class Entry:
    """One controller: its name in ``--controllers``, what it must be allowed to do, and how it is built."""

    name: str
    rules: tuple[Rule, ...]
    build: Callable[[Parts], Sequence[Runnable]]


def settings(options: Options, catalog: Catalog, provider: CloudProvider | None) -> Settings:
    """Return what the flags mean for plans. Raises `OptionsError` for a runtime or parameter that does not exist."""
    try:
        runtime = catalog.runtime(options.runtime)
        parameters = resolve_parameters(runtime, options.runtime_parameters)
    except UnknownRuntime as error:
        raise OptionsError(f"--inference-runtime: {error}.") from error
    except RuntimeParameterError as error:
        raise OptionsError(str(error)) from error
    node_class = provider.node_classes[0] if provider is not None else KAITO_NODE_CLASS
    return Settings(
        runtime=runtime,
        alternatives=_alternatives(runtime, catalog),
        prices=_prices(options),
        provisions=options.node_provisioner is not NodeProvisioner.BYO,
        node_class_group=node_class.group,
        node_class_kind=node_class.kind,
        node_image_family=options.node_image_family,
        runtime_parameters=parameters,
        private_urls=options.private_urls,
        weights_cache=options.weights_cache,
        weights_folders=options.weights_node_folders,
        hub=os.environ.get("HF_ENDPOINT", ""),
    )


def _alternatives(runtime: Runtime, catalog: Catalog) -> tuple[Runtime, ...]:
    """The runtimes for other GPUs that need nothing that nobody gave, and those with another engine beside this one."""
    return tuple(
        one
        for one in catalog.runtimes
        if one is not runtime and (_for_other_gpus(one, runtime) or _with_other_engine(one, runtime))
    )


def _for_other_gpus(one: Runtime, runtime: Runtime) -> bool:
    cuda = runtime.accelerator.device is EngineDevice.CUDA is one.accelerator.device
    return cuda and one.engine is runtime.engine and _needs_no_more(one, frozenset())


def _with_other_engine(one: Runtime, runtime: Runtime) -> bool:
    """Whether it runs where this one does, from the same image or folders."""
    given = frozenset(parameter.name for parameter in runtime.parameters)
    same = one.accelerator.device is runtime.accelerator.device and one.image == runtime.image
    return one.engine is not runtime.engine and same and _needs_no_more(one, given)


def _needs_no_more(runtime: Runtime, given: Collection[str]) -> bool:
    return all(parameter.default is not None or parameter.name in given for parameter in runtime.parameters)


def _prices(options: Options) -> dict[str, Price]:
    if options.prices is None:
        return {}
    try:
        return lowest_prices(PriceFile(options.prices).all())
    except SourceError as error:
        raise OptionsError(f"--prices: {error}") from error


def _workspace(parts: Parts) -> Sequence[Runnable]:
    chosen = settings(parts.options, parts.catalog, parts.provider)
    lookups = ModelLookups(
        client=parts.client,
        clock=parts.clock,
        rng=Random(),  # noqa: S311 - spreads retries, guards nothing
        environment=os.environ,
    )
    reports = PodReports(client=parts.client, clock=parts.clock)
    reconciler = workspace.WorkspaceController(
        client=parts.client,
        cache=parts.cache,
        recorder=parts.recorder,
        clock=parts.clock,
        catalog=parts.catalog,
        settings=chosen,
        models=lookups,
        reports=reports,
    )
    wanted = watches(reconciler.views, provisions=chosen.provisions)
    for feed in (TaskFeed("models", lookups.feed), TaskFeed("reports", reports.feed)):
        wanted = wanted.watches(feed)
    controller = wanted.build(
        reconciler,
        parts.cache,
        parts.clock,
        parts.metrics,
        workers=WORKSPACE_WORKERS,
        rate_limiter=ItemBackoff(cap_s=SLOWEST_RETRY_S),
    )
    return (lookups, reports, controller)


def _nodeclaim(parts: Parts) -> Sequence[Runnable]:
    if parts.provider is None:
        raise OptionsError("--controllers: nodeclaim needs a cloud; name one with --provider.")
    return nodeclaim.node_provisioner(
        client=parts.client,
        cache=parts.cache,
        clock=parts.clock,
        events=parts.recorder,
        provider=parts.provider,
        metrics=parts.metrics,
    ).parts


CONTROLLERS: Final[Mapping[str, Entry]] = MappingProxyType(
    {
        entry.name: entry
        for entry in (
            Entry(name="workspace", rules=workspace.RULES, build=_workspace),
            Entry(name="nodeclaim", rules=nodeclaim.RULES, build=_nodeclaim),
        )
    }
)
