"""Measured process: the official client's SharedInformer of pods, with handlers that count."""

from __future__ import annotations

import argparse
import threading
import time
from typing import Any

from kubernetes import client
from kubernetes.informer import SharedInformer

from benchmarks.machinery.conversation import questions, say

LOOK_S = 0.0005


class Count:
    """How many notifications came."""

    def __init__(self) -> None:
        self.told = 0
        self._guard = threading.Lock()

    def take(self, _: Any) -> None:
        """The handler."""
        with self._guard:
            self.told += 1

    def reach(self, told: int) -> None:
        """Wait until so many have come."""
        while self.told < told:
            time.sleep(LOOK_S)


def main() -> None:
    """Run until told to quit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", required=True)
    parser.add_argument("--pods", type=int, required=True)
    options = parser.parse_args()
    configuration = client.Configuration()
    configuration.host = options.server
    api = client.CoreV1Api(client.ApiClient(configuration))
    informer, count = SharedInformer(list_func=api.list_pod_for_all_namespaces), Count()
    for kind in ("ADDED", "MODIFIED", "DELETED"):
        informer.add_event_handler(kind, count.take)
    started, used = time.perf_counter(), time.process_time()
    informer.start()
    count.reach(options.pods)
    say(synced_s=time.perf_counter() - started, cpu_s=time.process_time() - used, objects=len(informer.cache.list()))
    for _, number in questions():
        count.reach(number)
        say(told=count.told)


if __name__ == "__main__":
    main()
