"""The Workspace's history."""

from __future__ import annotations

import copy

from kaito_controller.api import labels as keys
from kaito_controller.controllers.workspace.revision import KEPT, marks, revision_of, spec_hash
from kaito_controller.testing.builders import workspace


def test_the_first_revision_is_one_and_owned():
    """A new Workspace gets revision 1 under its name and the start of its hash."""
    found = revision_of(workspace(), [])
    made = found.create
    digest = spec_hash(workspace())
    assert 1 == found.number == made["revision"]
    assert f"demo-{digest[:10]}" == made["metadata"]["name"]
    assert digest == made["metadata"]["annotations"][keys.WORKSPACE_HASH]
    assert "demo" == made["metadata"]["labels"][keys.REVISION_OWNER]
    assert {"resource", "inference", "tuning"} == set(made["data"])
    assert "uid-of-models-demo" == made["metadata"]["ownerReferences"][0]["uid"]


def test_a_changed_spec_counts_up_and_an_old_one_comes_back():
    """Numbers grow with new specs; going back to an old spec goes back to its number."""
    first = revision_of(workspace(), []).create
    changed = workspace(inference={"preset": {"name": "phi-4-mini-instruct"}, "config": "mine"})
    second = revision_of(changed, [first])
    assert 2 == second.number
    back = revision_of(workspace(), [first, second.create])
    assert (1, None) == (back.number, back.create)


def test_a_revision_of_upstream_with_equal_data_is_current():
    """Another hash over equal data (nulls and absent fields alike) is no new revision, so nothing restarts."""
    theirs = copy.deepcopy(revision_of(workspace(), []).create)
    theirs["metadata"]["annotations"][keys.WORKSPACE_HASH] = "made-by-another"
    theirs["revision"] = 7
    theirs["data"]["resource"]["preferredNodes"] = None
    found = revision_of(workspace(), [theirs])
    assert (7, "made-by-another", None) == (found.number, found.spec_hash, found.create)


def test_the_oldest_is_dropped_beyond_ten():
    """History is bounded: with ten kept, a new one pushes out the lowest number."""
    existing = []
    for number in range(KEPT):
        spec = workspace(inference={"preset": {"name": "phi-4-mini-instruct"}, "config": f"c{number}"})
        found = revision_of(spec, existing)
        assert found.prune is None
        existing.append(found.create)
    assert 1 == revision_of(workspace(), existing).prune["revision"]


def test_marks_are_written_once():
    """Finalizer and annotations go in one patch guarded by the resourceVersion, and then never again."""
    revision = revision_of(workspace(), [])
    theirs = workspace(metadata={"finalizers": ["example.com/hold"]})
    patch = marks(theirs, revision)["metadata"]
    assert ["example.com/hold", keys.WORKSPACE_FINALIZER] == patch["finalizers"]
    assert "10" == patch["resourceVersion"]
    marked = workspace(
        metadata={"finalizers": patch["finalizers"], "annotations": {**patch["annotations"], "own": "kept"}}
    )
    assert {} == marks(marked, revision)
