"""Which instance types may be chosen, and what of them."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence

from attrs import evolve

from kaito_controller.api.workspace import PartitionSpec
from kaito_controller.catalog.hardware import SKU, Price
from kaito_controller.catalog.loader import Catalog, UnknownInstanceType
from kaito_controller.cli.bad_input import BadInputError
from kaito_controller.sizing.candidates import Wishes
from kaito_controller.sizing.slices import UnknownSlice, sliced


def wishes_of(parsed: argparse.Namespace, catalog: Catalog) -> Wishes:
    """What the options say of instance types.

    Raises:
        BadInputError: an instance type or a cloud is not in the catalogue.
    """
    types = tuple(named_type(name, catalog, "--instance-type").name for name in parsed.instance_type)
    clouds = sorted({sku.cloud for sku in catalog.skus})
    for cloud in parsed.cloud:
        if cloud.lower() not in clouds:
            nearest = difflib.get_close_matches(cloud.lower(), clouds, n=1, cutoff=0)
            raise BadInputError(
                f"--cloud: must be one of {', '.join(clouds)} (nearest: {nearest[0]}); found {cloud[:40]!r}"
            )
    return Wishes(
        instance_types=types,
        clouds=tuple(parsed.cloud),
        zones=tuple(parsed.zone),
        offered={named_type(name, catalog, "--offered").name: zones for name, zones in parsed.offered},
        regions=tuple(parsed.region),
        spot=parsed.spot,
        quota={named_type(name, catalog, "--quota").name: number for name, number in parsed.quota},
        **_nodes(parsed.nodes),
    )


def _nodes(count: int | None) -> dict[str, int]:
    """One node is not a number that the plan keeps to by itself: it stands for as many as are needed."""
    if count is None:
        return {}
    return {"most_nodes": 1} if count == 1 else {"node_count": count}


def named_type(name: str, catalog: Catalog, option: str) -> SKU:
    """The instance type of a name.

    Raises:
        BadInputError: there is none; the message offers the nearest.
    """
    try:
        return catalog.sku(name)
    except UnknownInstanceType as error:
        raise BadInputError(f"{option}: {error}. Use one that kubectl kaito skus lists") from error


def prices_of(parsed: argparse.Namespace) -> tuple[Price, ...]:
    """The prices of the file that is named; none without one.

    Raises:
        BadInputError: the file cannot be read, or is wrong.
    """
    if parsed.prices is None:
        return ()
    from kaito_controller.sources.errors import SourceError
    from kaito_controller.sources.prices import PriceFile

    try:
        return PriceFile(parsed.prices).all()
    except SourceError as error:
        raise BadInputError(f"--prices: {error}") from error


def parts_of(skus: Sequence[SKU], partition: PartitionSpec | None) -> Sequence[SKU]:
    """The instance types with the part of their GPUs that a Workspace may use; those that have no such part stay out.

    Raises:
        BadInputError: none has.
    """
    if partition is None:
        return skus
    found = [part for sku in skus if (part := _part(sku, partition)) is not None]
    if not found:
        what = partition.profile or f"{partition.count} GPUs"
        raise BadInputError(f"resource.partition: no instance type has {what[:40]}: use another profile or count")
    return found


def _part(sku: SKU, partition: PartitionSpec) -> SKU | None:
    if partition.profile:
        try:
            return sliced(sku, partition.profile)
        except UnknownSlice:
            return None
    count = partition.count or sku.gpu_count
    return evolve(sku, gpu_count=count) if count <= sku.gpu_count else None
