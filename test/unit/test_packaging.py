"""The wheel: what `pip install .` brings."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("kaito_controller", "inference_server", "setup.py", "setup.cfg", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy so that the checkout stays clean."""
    source = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        origin = ROOT / name
        if origin.is_dir():
            shutil.copytree(origin, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(origin, source / name)
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(out.glob("*.whl"))


def test_the_wheel_holds_every_data_file(wheel: Path) -> None:
    """Each YAML file of the catalogue that is in the tree is in the wheel, and so is the typing marker."""
    data = (ROOT / "kaito_controller" / "catalog").rglob("*.yaml")
    wanted = {str(path.relative_to(ROOT)) for path in data} | {"kaito_controller/py.typed"}
    assert wanted - set(zipfile.ZipFile(wheel).namelist()) == set()


def test_the_console_scripts_run_from_the_wheel(wheel: Path, tmp_path: Path) -> None:
    """Both entry points of the wheel start, away from the checkout."""
    zipfile.ZipFile(wheel).extractall(tmp_path)
    entry_points = next(tmp_path.glob("*.dist-info/entry_points.txt")).read_text()
    scripts = dict(line.split(" = ") for line in entry_points.splitlines() if " = " in line)
    assert set(scripts) == {"kaito-controller", "kubectl-kaito"}
    for arguments in (["kaito-controller", "--version"], ["kubectl-kaito", "presets"]):
        module, function = scripts[arguments[0]].split(":")
        program = f"import sys; from {module} import {function} as main; sys.argv = {arguments!r}; sys.exit(main())"
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=tmp_path,
            env={"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip()
