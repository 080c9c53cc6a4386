"""Builds an image from a recipe: a system layer, a layer with the locked environment, and one with our own packages."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from attrs import asdict, frozen
from local_cluster.folders import REPOSITORY, require_room

from image_builder import debian, environment, sbom, sources
from image_builder.debian import Package
from image_builder.layers import Layer, Layers
from image_builder.recipe import PREFIX, SITE_PACKAGES, USER, Recipe
from kaito_controller.kube.timestamps import format_timestamp
from kaito_controller.providers.local import image_archive
from kaito_controller.providers.local.image_archive import ImageContent
from kaito_controller.sources.oci.reference import DOCKER_HUB

SBOM_FOLDER = "usr/share/sbom"
_MAKERS = ("bytecode", "debian", "environment", "layer", "sbom", "sources")
_LOCKS = REPOSITORY / "hack" / "requirements"


@frozen(kw_only=True)
class Built:
    """An image as it lies on disk: its archive, its digest, its names, and its bill of materials."""

    archive: Path
    digest: str
    name: str
    sbom: bytes


@frozen(kw_only=True)
class Builder:
    """Builds images with what the folder `cache` keeps; `say` tells a person what takes long."""

    cache: Path
    say: Callable[[str], None]
    checkout: Path = REPOSITORY
    downloads: Path | None = None

    def build(self, recipe: Recipe, archive: Path) -> Built:
        """Build an image and write its archive. Raises `Problem` for what a person can remedy."""
        require_room(self.cache, recipe.disk_gib, f"building the image {recipe.name}")
        require_room(archive.parent, recipe.disk_gib / 3, "its archive", environment_variable="--output")
        packages = debian.resolve(recipe.debian)
        system = self._system(recipe, packages)
        with tempfile.TemporaryDirectory(prefix="kaito-image-", dir=self.cache) as scratch:
            root = Path(scratch) / "system"
            installed = self._environment(recipe, system, root)
            bill = self._bill(recipe, system, installed)
            top = self._top(recipe, system, root, bill)
        return self._archive(recipe, [system, installed, top], bill, archive)

    def _system(self, recipe: Recipe, packages: Sequence[Package]) -> Layer:
        files = [[name, *paths] for name, paths in sorted(recipe.debian_files.items())]
        key = _key(_code(), [list(map(str, asdict(package).values())) for package in packages], files)

        def make(root: Path) -> Mapping[str, Any]:
            self.say(f"{recipe.name}: root file system from {len(packages)} Debian packages")
            archives = debian.fetch(packages, (self.downloads or self.cache) / "debian")
            debian.unpack(recipe, packages, archives, root)
            environment.compile_ahead(root, root, "usr/lib/python3.11")
            return {"components": sbom.debian_components(sbom.records(root / "var/lib/dpkg"))}

        return self._layers.get(f"system-{recipe.name}", key, make)

    def _environment(self, recipe: Recipe, system: Layer, unpacked: Path) -> Layer:
        lock = _LOCKS / f"{recipe.lock}.txt"
        left_out = [*recipe.left_out, "/", *recipe.pruned]
        key = _key(_code(), system.blob.digest, lock.read_text(), left_out)

        def make(root: Path) -> Mapping[str, Any]:
            self.say(f"{recipe.name}: environment from {lock.name}")
            _unpack(system, unpacked)
            environment.install(recipe, lock, root, cache=self._wheels)
            self.say(f"{recipe.name}: compiling it ahead")
            environment.compile_ahead(unpacked, root, PREFIX)
            return {"components": sbom.python_components(root / SITE_PACKAGES.lstrip("/"))}

        return self._layers.get(f"environment-{recipe.name}", key, make)

    def _top(self, recipe: Recipe, system: Layer, unpacked: Path, bill: bytes) -> Layer:
        names = sources.files(self.checkout, recipe.sources, recipe.source_exclusions)
        content = [[str(name), hashlib.sha256((self.checkout / name).read_bytes()).hexdigest()] for name in names]
        key = _key(_code(), system.blob.digest, content, hashlib.sha256(bill).hexdigest())

        def make(root: Path) -> Mapping[str, Any]:
            _unpack(system, unpacked)
            sources.place(self.checkout, root / SITE_PACKAGES.lstrip("/"), recipe.sources, recipe.source_exclusions)
            environment.compile_ahead(unpacked, root, PREFIX)
            (root / SBOM_FOLDER).mkdir(parents=True)
            (root / SBOM_FOLDER / f"{recipe.repository}.cdx.json").write_bytes(bill)
            return {}

        return self._layers.get(f"top-{recipe.name}", key, make)

    def _bill(self, recipe: Recipe, *layers: Layer) -> bytes:
        components = [component for layer in layers for component in layer.notes["components"]]
        return sbom.document(recipe.repository, sources.version_of(self.checkout), components)

    def _archive(self, recipe: Recipe, layers: Sequence[Layer], bill: bytes, archive: Path) -> Built:
        version = sources.version_of(self.checkout)
        labels = _labels(recipe, version, self.checkout)
        config = {
            "User": USER,
            "WorkingDir": "/",
            "Entrypoint": list(recipe.entrypoint),
            **({"Cmd": list(recipe.command)} if recipe.command else {}),
            "Env": [f"{key}={value}" for key, value in recipe.variables.items()],
            "Labels": labels,
        }
        # A name without a registry means this one to every container runtime, so that is what kubelets look for.
        name = f"{DOCKER_HUB}/library/{recipe.repository}:{version}"
        content = ImageContent(
            names=(name,),
            machine=os.uname().machine,
            config=config,
            layers=[layer.blob for layer in layers],
            created=_created(self.checkout),
            annotations=labels,
        )
        digest = image_archive.write(content, archive)
        return Built(archive=archive, digest=digest, name=name, sbom=bill)

    @property
    def _layers(self) -> Layers:
        return Layers(folder=self.cache / "layers")

    @property
    def _wheels(self) -> Path:
        # The cache of hack/environment: on one file system its files are shared by hard links.
        return (self.downloads or self.cache).parent / "python" / "uv-cache"


def _unpack(system: Layer, target: Path) -> None:
    if target.exists():
        return
    assert isinstance(system.blob.content, Path)  # noqa: S101 - layers of the cache are files
    with tarfile.open(system.blob.content) as tar:
        # Ours, written by layer.py: it holds nothing but files, folders and links.
        tar.extractall(target, filter="fully_trusted")  # noqa: S202


def _labels(recipe: Recipe, version: str, checkout: Path) -> dict[str, str]:
    labels = {
        "org.opencontainers.image.title": recipe.repository,
        "org.opencontainers.image.description": recipe.description,
        "org.opencontainers.image.version": version,
        "org.opencontainers.image.licenses": "Apache-2.0",
    }
    revision = _git(checkout, "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty")
    return {**labels, "org.opencontainers.image.revision": revision} if revision else labels


def _created(checkout: Path) -> str:
    seconds = os.environ.get("SOURCE_DATE_EPOCH") or _git(checkout, "log", "-1", "--format=%ct")
    return format_timestamp(datetime.fromtimestamp(int(seconds), UTC)) if seconds else ""


def _git(checkout: Path, *arguments: str) -> str:
    if not shutil.which("git") or not (checkout / ".git").exists():
        return ""
    done = subprocess.run(["git", "-C", str(checkout), *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _code() -> str:
    """The builder's own code that a layer depends on; what else it depends on is named beside it in its key."""
    folder = Path(__file__).parent
    return hashlib.sha256(b"".join((folder / f"{name}.py").read_bytes() for name in _MAKERS)).hexdigest()


def _key(*parts: Any) -> str:
    return hashlib.sha256(repr((PREFIX, USER, *parts)).encode()).hexdigest()[:12]
