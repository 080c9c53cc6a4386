"""The provider `local` keeps the rules that every provider keeps, with machines that are real."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from kaito_controller.testing.real_cluster import RealCluster

REPOSITORY = Path(__file__).resolve().parents[2]


def test_the_conformance_suite_holds(cluster: RealCluster):
    """test/conformance, run on the provider `local` of a running cluster, passes whole."""
    command = [sys.executable, "-m", "pytest", "test/conformance", "-k", "local", "-q", "-p", "no:cacheprovider"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "KAITO_TEST_LOCAL_CLUSTER": str(cluster.document)}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "skipped" not in done.stdout.splitlines()[-1]
