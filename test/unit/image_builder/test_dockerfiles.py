"""The Dockerfiles keep to the rules that hack/images keeps by construction."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from attrs import field, frozen
from image_builder.recipe import PYTHON, RECIPES, USER

from kaito_controller.sources.oci.reference import OciReference

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "deploy" / "docker"
LOCKS = {"controller": "controller", "inference": "inference-cuda", "tuning": "tuning-cuda"}
A_DIGEST = re.compile(r"@sha256:[0-9a-f]{64}")


@frozen
class Stage:
    base: str
    name: str
    steps: list[tuple[str, str]] = field(factory=list)

    def all(self, word: str) -> list[str]:
        return [rest for found, rest in self.steps if found == word]


@frozen
class Dockerfile:
    arguments: list[str]
    stages: list[Stage]

    @classmethod
    def parse(cls, text: str) -> Dockerfile:
        lines = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ").splitlines()
        steps = [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines if line.strip())]
        arguments: list[str] = []
        stages: list[Stage] = []
        for word, rest in steps:
            if word == "FROM":
                base, _, name = rest.partition(" AS ")
                stages.append(Stage(base, name))
            elif stages:
                stages[-1].steps.append((word, rest))
            else:
                arguments.append(f"{word} {rest}")
        return cls(arguments, stages)

    @property
    def build(self) -> Stage:
        return self.stages[0]

    @property
    def image(self) -> Stage:
        return self.stages[-1]


@pytest.fixture(params=sorted(LOCKS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def dockerfile(name: str) -> Dockerfile:
    return Dockerfile.parse((FOLDER / f"{name}.Dockerfile").read_text())


def test_every_dockerfile_is_checked() -> None:
    """A new one is not forgotten here."""
    assert {path.name.removesuffix(".Dockerfile") for path in FOLDER.glob("*")} == set(LOCKS)


def test_the_base_image_is_an_argument_without_default(dockerfile: Dockerfile, name: str) -> None:
    """No base image is written down: who builds says which, and nothing else is ever started from."""
    assert dockerfile.arguments == ["ARG BASE_IMAGE"]
    assert {stage.base for stage in dockerfile.stages} == {"${BASE_IMAGE}", "scratch"}
    assert not A_DIGEST.search((FOLDER / f"{name}.Dockerfile").read_text())


def test_the_base_image_is_checked_before_anything_is_installed(dockerfile: Dockerfile, name: str) -> None:
    """The first step is the check, with the argument in sight; images for GPUs also ask for a compiler."""
    assert "BASE_IMAGE" in dockerfile.build.all("ARG")
    first = json.loads(dockerfile.build.all("RUN")[0])
    assert first[:3] == ["python3", "-m", "image_builder.base_image"]
    assert ("--compiler" in first) is (name != "controller")


def test_no_step_and_no_entry_point_is_a_shell(dockerfile: Dockerfile) -> None:
    """RUN, ENTRYPOINT and CMD are lists of words, and none of them names a shell."""
    for stage in dockerfile.stages:
        for step in (*stage.all("RUN"), *stage.all("ENTRYPOINT"), *stage.all("CMD")):
            words = json.loads(step)
            assert not {"sh", "bash", "dash"} & {Path(word).name for word in words}


def test_what_is_installed_is_locked(dockerfile: Dockerfile, name: str) -> None:
    """One pip call, of the image's own lock file, that takes nothing without a hash and builds nothing."""
    (install,) = [words for words in map(json.loads, dockerfile.build.all("RUN")) if "install" in words]
    assert {"--require-hashes", "--no-deps", "--only-binary"} <= set(install)
    lock = ROOT / install[install.index("--requirement") + 1]
    assert lock == ROOT / "hack" / "requirements" / f"{LOCKS[name]}.txt"
    pins = re.findall(r"^[a-z0-9.-]+==\S+ \\\n    --hash=sha256:", lock.read_text(), re.MULTILINE)
    assert len(pins) == len(re.findall(r"^[^\s#]", lock.read_text(), re.MULTILINE))


def test_it_runs_as_a_user_that_owns_nothing(dockerfile: Dockerfile) -> None:
    """The last word on the user is a number, so that a kubelet can tell it is not root; nothing belongs to it."""
    assert dockerfile.image.all("USER")[-1] == USER
    assert not [step for step in dockerfile.image.all("COPY") if "--chown" in step]


def test_a_bill_of_materials_is_in_the_image_and_can_be_had_beside_it(dockerfile: Dockerfile) -> None:
    """It is written below the environment, which the image copies; the stage `sbom` holds nothing else."""
    (bill,) = [words for words in map(json.loads, dockerfile.build.all("RUN")) if "image_builder.sbom" in words]
    assert bill[-1].startswith("/opt/kaito/share/sbom/")
    assert dockerfile.image.all("COPY") == ["--from=build /opt/kaito /opt/kaito"]
    sbom = next(stage for stage in dockerfile.stages if stage.name == "sbom")
    assert (sbom.base, sbom.all("COPY")) == ("scratch", ["--from=build /opt/kaito/share/sbom /"])


def test_dockerfile_and_builder_make_the_same_controller() -> None:
    """The same program is started, from the same lock, with the same packages and variables."""
    recipe = RECIPES["controller"]
    dockerfile = Dockerfile.parse((FOLDER / "controller.Dockerfile").read_text())
    assert recipe.lock == LOCKS["controller"]
    assert json.loads(dockerfile.image.all("ENTRYPOINT")[0]) == list(recipe.entrypoint)
    assert json.loads(dockerfile.image.all("CMD")[0]) == list(recipe.command)
    (place,) = [words for words in map(json.loads, dockerfile.build.all("RUN")) if "image_builder.sources" in words]
    assert place[4:] == [*recipe.sources, *(f"!{folder}" for folder in recipe.source_exclusions)]
    variables = dict(pair.split("=", 1) for pair in dockerfile.image.all("ENV")[0].split())
    assert {**variables, "PATH": ""} == {**recipe.variables, "PATH": ""}
    assert variables["PATH"].split(":")[0] == str(Path(PYTHON).parent)


def test_the_images_have_the_names_that_the_manifests_ask_for(name: str, dockerfile: Dockerfile) -> None:
    """config/default and the catalogue's runtimes name these images, in this version, without a registry."""
    title = re.search(r'title="([^"]+)"', dockerfile.image.all("LABEL")[0])
    version = re.search(r'version="([^"]+)"', dockerfile.image.all("LABEL")[0])
    assert title
    assert version
    manager = (ROOT / "config" / "manager" / "kustomization.yaml").read_text()
    runtime = (ROOT / "kaito_controller" / "catalog" / "runtimes" / "vllm-cuda.yaml").read_text()
    asked = {
        "controller": "kaito-controller" in manager and f"newTag: {version[1]}" in manager,
        "inference": f"{title[1]}:{version[1]}" in runtime,
        "tuning": True,
    }
    assert asked[name]
    assert OciReference.parse(f"registry.example/{title[1]}:{version[1]}").tag == version[1]
