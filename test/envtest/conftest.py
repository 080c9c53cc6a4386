"""The fixtures with a real API server, for the tests of this folder."""

from __future__ import annotations

from kaito_controller.testing.fixtures import apiserver, cluster, cluster_namespace, namespace, own_apiserver

__all__ = ["apiserver", "cluster", "cluster_namespace", "namespace", "own_apiserver"]
