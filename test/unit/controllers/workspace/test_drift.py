"""What counts as a change of a live object."""

from __future__ import annotations

import copy

import pytest

from kaito_controller.controllers.workspace.drift import HASH_ANNOTATION, drift, stamped

DESIRED = stamped(
    {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "demo", "namespace": "models"},
        "spec": {
            "replicas": 1,
            "template": {
                "spec": {
                    "containers": [
                        {
                            "name": "demo",
                            "args": ["--model", "x"],
                            "env": [{"name": "A", "value": ""}],
                            "resources": {"requests": {"memory": "1024Mi"}},
                            "volumeMounts": [{"name": "w", "mountPath": "/a"}, {"name": "w", "mountPath": "/b"}],
                        }
                    ],
                    "tolerations": [{"key": "sku", "operator": "Exists"}],
                    "volumes": [{"name": "shm", "emptyDir": {}}],
                }
            },
        },
    }
)


def live():
    """Return the object as an API server would hold it: defaults added, quantities rewritten, empty values dropped."""
    made = copy.deepcopy(DESIRED)
    made["metadata"]["uid"] = "1"
    container = made["spec"]["template"]["spec"]["containers"][0]
    container["env"] = [{"name": "A"}]
    container["resources"]["requests"]["memory"] = "1Gi"
    container["terminationMessagePath"] = "/dev/termination-log"
    made["spec"]["template"]["spec"]["containers"].append({"name": "injected"})
    made["spec"]["revisionHistoryLimit"] = 10
    made["status"] = {"replicas": 1}
    return made


def test_what_the_server_filled_in_is_not_drift():
    """Defaults, canonical quantities, dropped empty values and injected list items are no reason to write."""
    assert drift(DESIRED, live()) is None


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (lambda o: o["spec"].update(replicas=3), "spec.replicas"),
        (
            lambda o: o["spec"]["template"]["spec"]["containers"][0].update(args=["--model"]),
            "spec.template.spec.containers[name=demo].args",
        ),
        (
            lambda o: o["spec"]["template"]["spec"]["containers"][0]["volumeMounts"].pop(),
            "spec.template.spec.containers[name=demo].volumeMounts[mountPath=/b].mountPath",
        ),
        (
            lambda o: o["spec"]["template"]["spec"]["tolerations"][0].update(key="other"),
            "spec.template.spec.tolerations[0].key",
        ),
        (lambda o: o["metadata"]["annotations"].clear(), f"metadata.annotations[{HASH_ANNOTATION}]"),
    ],
)
def test_a_changed_field_of_ours_is_named(change, path):
    """A field of ours that somebody changed is found and named by its path."""
    found = live()
    change(found)
    assert path == drift(DESIRED, found) or drift(DESIRED, found).startswith(path.rsplit(".", 1)[0])


def test_a_removed_field_changes_the_hash():
    """Wanting less than before is drift too, although every field that is still wanted is there."""
    smaller = copy.deepcopy(DESIRED)
    del smaller["spec"]["template"]["spec"]["volumes"]
    del smaller["metadata"]["annotations"]
    assert f"metadata.annotations[{HASH_ANNOTATION}]" == drift(stamped(smaller), live())
