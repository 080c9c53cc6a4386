"""What each image holds, and how it is run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import field, frozen

PREFIX = "/opt/kaito"
"""Where the environment lies in every image, those of deploy/docker too."""

PYTHON = f"{PREFIX}/bin/python3"
SITE_PACKAGES = f"{PREFIX}/lib/python3.11/site-packages"
USER = "65532:65532"
"""The user and group that the images name and the manifests ask for: the `nonroot` of the distroless images."""

_LIBC = ("gcc-12-base", "libc6", "libgcc-s1", "libstdc++6")
_PYTHON = (
    "libpython3.11-minimal",
    "libpython3.11-stdlib",
    "python3.11",
    "python3.11-minimal",
    "libbz2-1.0",
    "libcrypt1",
    "libexpat1",
    "libffi8",
    "liblzma5",
    "libsqlite3-0",
    "libssl3",
    "libuuid1",
    "zlib1g",
)
_FILES = ("base-files", "ca-certificates", "media-types", "netbase")
_ENVIRONMENT = {
    "PATH": f"{PREFIX}/bin:/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "PYTHONUNBUFFERED": "1",
    # `python3 -m` then takes no module from the folder it happens to be started in.
    "PYTHONSAFEPATH": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
}


@frozen(kw_only=True)
class Recipe:
    """One image.

    `debian` are the packages of the root file system, with all they need: nothing is added for dependencies, a test
    looks whether every library finds those it is linked to. Of a package with an entry in `debian_files` only these
    files are taken. `lock` names a file of hack/requirements; `left_out` are the packages of it that are not installed,
    and `pruned` the files and folders, as patterns below site-packages, that are removed again. `sources` are packages
    of this checkout, `source_exclusions` folders of them. `disk_gib` is what a build takes at most.
    """

    name: str
    repository: str
    description: str
    lock: str
    debian: Sequence[str]
    sources: Sequence[str]
    entrypoint: Sequence[str]
    disk_gib: float
    debian_files: Mapping[str, Sequence[str]] = field(factory=dict)
    left_out: Sequence[str] = ()
    pruned: Sequence[str] = ()
    source_exclusions: Sequence[str] = ()
    command: Sequence[str] = ()
    environment: Mapping[str, str] = field(factory=dict)

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables of its processes."""
        return {**_ENVIRONMENT, **self.environment}


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="controller",
            repository="kaito-controller",
            description="The operator of kaito-controller, and the agent of its serving pods",
            lock="controller",
            debian=(*_FILES, *_LIBC, *_PYTHON),
            # The operator reads quantities by one file of `kubernetes` and never imports the models and their calls.
            pruned=(
                "kubernetes/aio",
                "kubernetes/client",
                "kubernetes_asyncio/client/api",
                "kubernetes_asyncio/client/models",
            ),
            sources=("kaito_controller", "inference_server"),
            # The test kit is of no use to a cluster, and nothing in production imports it.
            source_exclusions=("kaito_controller/testing",),
            entrypoint=(PYTHON, "-m", "kaito_controller"),
            command=("run",),
            disk_gib=2,
        ),
        Recipe(
            name="inference-cpu",
            repository="kaito-inference-cpu",
            description="kaito-controller's inference server with vLLM on the CPU, for trials and tests",
            lock="inference-cpu",
            debian=(*_FILES, *_LIBC, *_PYTHON, "dash", "libnuma1", "libsmartcols1", "util-linux"),
            # vLLM asks lscpu which cores belong to which memory, through a shell, as its CPU worker starts.
            debian_files={"util-linux": ("usr/bin/lscpu",), "dash": ("usr/bin/dash", "usr/bin/sh")},
            # PyTorch of this index is linked to CUDA's libraries and does not load without them. These it would load
            # only for a GPU: 0.6 of 2.5 GiB.
            pruned=(
                "nvidia/cudnn/lib/libcudnn_*",
                "nvidia/cu13/lib/*.alt*",
                "nvidia/cu13/lib/*.a",
                "nvidia/cu13/lib/libnvperf*",
            ),
            sources=("inference_server",),
            entrypoint=(PYTHON, "-m", "inference_server.serve"),
            disk_gib=16,
        ),
    )
}
