"""What the controller's image holds, and what it does not."""

from __future__ import annotations

import json
import marshal
import os
import re
import subprocess
from collections.abc import Callable
from importlib.util import cache_from_source
from pathlib import Path

import pytest
from image_builder.build import Built
from image_builder.environment import interpreter
from image_builder.recipe import RECIPES, SITE_PACKAGES
from image_builder.sources import version_of
from local_cluster.folders import REPOSITORY, cache_folder

from kaito_controller.testing.open_image import OpenImage

RECIPE = RECIPES["controller"]
SECRETS = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\n[A-Za-z0-9+/=]{60}")


def python(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the image's own interpreter and C library on the image's own modules."""
    environment = {"PYTHONHOME": str(root / "usr"), "PYTHONPATH": str(root / SITE_PACKAGES.lstrip("/"))}
    command = [*map(str, interpreter(root)), "-B", *arguments]
    return subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, check=False)


def libraries(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if ".so" in path.name and path.is_file() and not path.is_symlink()]


def test_it_runs_as_a_user_who_is_not_root_and_through_no_shell(image: OpenImage) -> None:
    """The user is a number, so that a kubelet can tell; the entry point is a program that is there."""
    config = image.config["config"]
    assert config["User"] == "65532:65532"
    assert (config["Entrypoint"], config["Cmd"]) == ([*RECIPE.entrypoint], ["run"])
    programs = {Path(member.name).name for member in image.members if "bin" in Path(member.name).parent.parts}
    assert not {"sh", "bash", "dash", "apt", "dpkg", "su", "mount", "perl"} & programs


def test_labels_say_what_it_is_and_from_which_revision(image: OpenImage) -> None:
    """As the OCI image specification names them."""
    labels = image.config["config"]["Labels"]
    head = subprocess.run(["git", "-C", REPOSITORY, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    assert labels["org.opencontainers.image.title"] == "kaito-controller"
    if head.returncode == 0:
        assert labels["org.opencontainers.image.revision"].removesuffix("-dirty") == head.stdout.strip()
    assert labels.items() <= image.manifest["annotations"].items()


def test_nothing_is_setuid_owned_by_a_user_or_open_to_everybody(image: OpenImage) -> None:
    """All belongs to root; only /tmp may be written to by everybody, and nobody removes there what is another's."""
    assert [member.name for member in image.members if member.mode & 0o6000] == []
    assert [member.name for member in image.members if (member.uid, member.gid) != (0, 0)] == []
    open_to_all = [(m.name, oct(m.mode)) for m in image.members if m.mode & 0o002 and not m.issym()]
    assert open_to_all == [("tmp", "0o1777")]


def test_no_link_leads_out_of_the_image(root: Path) -> None:
    """Each points to something that is in it."""
    dangling = []
    for path in root.rglob("*"):
        if path.is_symlink():
            target = str(path.readlink())
            place = root / target.lstrip("/") if target.startswith("/") else path.parent / target
            if not (place.exists() or place.is_symlink()):
                dangling.append(f"{path.relative_to(root)} -> {target}")
    assert dangling == []


def test_no_secret_and_no_path_of_this_machine_is_in_it(root: Path) -> None:
    """No private key, no token of the environment, neither checkout nor cache of whoever built it."""
    tokens = [value.encode() for key, value in os.environ.items() if re.search("TOKEN|SECRET|PASSWORD|API_KEY", key)]
    paths = [str(place).encode() + b"/" for place in (REPOSITORY, cache_folder())]
    found = []
    for path in root.rglob("*"):
        if path.is_file() and not path.is_symlink():
            content = path.read_bytes()
            held = [word for word in (*paths, *(token for token in tokens if len(token) > 8)) if word in content]
            if held or SECRETS.search(content):
                found.append(str(path.relative_to(root)))
    assert found == []


def test_the_bill_of_materials_lists_what_is_locked_and_nothing_else(built: Built, root: Path) -> None:
    """Python packages as in the lock file, Debian packages as in the recipe; beside the image it is the same."""
    bill = json.loads(built.sbom)
    inside = root / "usr" / "share" / "sbom" / "kaito-controller.cdx.json"
    assert json.loads(inside.read_text()) == bill
    listed = {component["purl"] for component in bill["components"]}
    lock = (REPOSITORY / "hack" / "requirements" / "controller.txt").read_text()
    locked = {
        f"pkg:pypi/{name}@{version}" for name, version in re.findall(r"^([a-z0-9.-]+)==(\S+)", lock, re.MULTILINE)
    }
    assert {purl for purl in listed if purl.startswith("pkg:pypi/")} == locked
    debian = {component["name"] for component in bill["components"] if component["purl"].startswith("pkg:deb/")}
    assert debian == set(RECIPE.debian)
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")


def test_every_library_finds_those_it_is_linked_to(root: Path) -> None:
    """Debian's packages are taken one by one, without what they depend on: none that is needed was forgotten."""
    loader, option, path, _ = map(str, interpreter(root))
    missing = {}
    for library in libraries(root):
        command = [loader, option, path, "--list", str(library)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        lost = [line.strip() for line in done.stdout.splitlines() if "not found" in line]
        outside = [line.strip() for line in done.stdout.splitlines() if "=> /" in line and f"=> {root}" not in line]
        if lost or outside:
            missing[library.name] = [*lost, *outside]
    assert missing == {}


def test_operator_and_agent_run_on_the_image_s_own_interpreter(root: Path) -> None:
    """Without anything of this machine, and without compiling anything: the root of a pod is read-only."""
    assert python(root, "-m", "kaito_controller", "--version").stdout.startswith("kaito-controller ")
    code = (
        "import httpx, huggingface_hub, numpy, prometheus_client, safetensors.numpy, ssl, sqlite3, lzma, bz2, ctypes\n"
        "import kaito_controller.app.wiring, inference_server.contract\n"
        "from kaito_controller.catalog import loader\n"
        "from importlib.metadata import version\n"
        "import pkgutil, inference_server.agent, inference_server.files\n"
        "from importlib import import_module\n"
        "for package in (inference_server.agent, inference_server.files):\n"
        "    for module in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        "        module.name.endswith('__main__') or import_module(module.name)\n"
        "print(version('kaito-controller'), len(loader.load().presets))\n"
    )
    done = python(root, "-c", code)
    assert done.returncode == 0, done.stderr
    number, presets = done.stdout.split()
    assert (number, int(presets) > 10) == (version_of(REPOSITORY), True)
    for package in ("kaito_controller", "inference_server", "httpx", "numpy"):
        sources = [path for path in (root / SITE_PACKAGES.lstrip("/") / package).rglob("*.py") if path.stat().st_size]
        assert sources
        assert [path for path in sources if not Path(cache_from_source(str(path))).exists()] == []


def test_what_is_compiled_names_the_files_of_the_image(root: Path) -> None:
    """A traceback of a pod shows where the file is there, and not where it was compiled."""
    wiring = root / SITE_PACKAGES.lstrip("/") / "kaito_controller" / "app" / "wiring.py"
    compiled = Path(cache_from_source(str(wiring))).read_bytes()
    code = marshal.loads(compiled[16:])  # noqa: S302 - we made it ourselves
    assert code.co_filename == f"{SITE_PACKAGES}/kaito_controller/app/wiring.py"


def test_the_test_kit_stays_at_home(root: Path) -> None:
    """A cluster gets what production imports."""
    assert not (root / SITE_PACKAGES.lstrip("/") / "kaito_controller" / "testing").exists()


@pytest.mark.slow
def test_two_builds_give_the_same_digest(built: Built, build: Callable[[Path, Path], Built], tmp_path: Path) -> None:
    """From the same packages, made anew from the first layer on, in another folder."""
    again = build(tmp_path / "cache", tmp_path / "again.tar")
    assert again.digest == built.digest
