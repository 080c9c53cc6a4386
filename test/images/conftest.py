"""The controller's image of this checkout, built as hack/images builds it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from image_builder.build import Builder, Built
from image_builder.recipe import RECIPES
from local_cluster.folders import cache_folder
from local_cluster.problem import Problem

from kaito_controller.testing.open_image import OpenImage

Build = Callable[[Path, Path], Built]


@pytest.fixture(scope="session")
def build() -> Build:
    """Build the image into an archive, with the layers kept in a folder; packages come from the machine's cache."""

    def run(cache: Path, archive: Path) -> Built:
        cache.mkdir(parents=True, exist_ok=True)
        builder = Builder(cache=cache, say=lambda _: None, downloads=cache_folder() / "images")
        return builder.build(RECIPES["controller"], archive)

    return run


@pytest.fixture(scope="session")
def built(build: Build, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The image, its layers from the cache of this machine."""
    try:
        return build(cache_folder() / "images", tmp_path_factory.mktemp("image") / "controller.tar")
    except Problem as problem:
        if "Debian 12" in str(problem):
            pytest.skip(str(problem))
        raise


@pytest.fixture(scope="session")
def image(built: Built) -> OpenImage:
    """What is in it."""
    return OpenImage.of(built.archive)


@pytest.fixture(scope="session")
def root(image: OpenImage, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its files, on disk."""
    root = tmp_path_factory.mktemp("root")
    image.unpack(root)
    return root
