"""Models that the catalogue does not have: what is asked for, and what the plan says meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from attrs import evolve

from kaito_controller.api.reasons import Reason
from kaito_controller.api.workspace import Workspace
from kaito_controller.controllers.workspace.model import goes_on, key_of, pinned
from kaito_controller.controllers.workspace.plan import Plan
from kaito_controller.kube import serde
from kaito_controller.sources.errors import Trouble
from kaito_controller.sources.model_reader import ModelKey
from kaito_controller.sources.oci.reference import OciReference
from kaito_controller.sources.resolver import Failed, Found, Pending
from kaito_controller.testing.builders import workspace

LATER = datetime(2026, 11, 29, 8, 30, tzinfo=UTC)
NAME = "acme/tiny"
COMMIT = "c" * 40


def naming(name=NAME, secret="", **fields):
    """Return a Workspace that names a model, with the Secret of its token."""
    options = {"presetOptions": {"modelAccessSecret": secret}} if secret else {}
    return workspace(inference={"preset": {"name": name, **options}}, **fields)


def asked_of(raw, catalog):
    """Return what is looked up for a Workspace."""
    return key_of(serde.structure(Workspace, raw), catalog)


def test_a_model_of_the_catalogue_is_not_looked_up(catalog):
    """Nor is a short name that nobody has: no hub could know it."""
    assert asked_of(naming("phi-4"), catalog) is None
    assert asked_of(naming("microsoft/Phi-4"), catalog) is None
    assert asked_of(naming("phi-44"), catalog) is None
    assert asked_of(workspace(), catalog) is None


def test_a_model_is_looked_up_as_whom_the_workspace_says(catalog):
    """Without a Secret everybody asks for the same; with one, each namespace for itself."""
    assert asked_of(naming(), catalog) == ModelKey(reference=NAME)
    raw = naming(secret="hub")
    assert asked_of(raw, catalog) == ModelKey(reference=NAME, namespace=raw["metadata"]["namespace"], secret="hub")


def test_the_revision_of_a_plan_is_kept_to(catalog):
    """What is served must be what was planned, also when the hub's main branch moves on; unless a revision is named."""
    status = {"plan": {"model": NAME, "revision": COMMIT}}
    assert asked_of(naming(status=status), catalog) == ModelKey(reference=f"{NAME}@{COMMIT}")
    other = {"plan": {"model": "acme/other", "revision": COMMIT}}
    assert asked_of(naming(status=other), catalog) == ModelKey(reference=NAME)
    assert asked_of(naming(f"{NAME}@v1", status=status), catalog) == ModelKey(reference=f"{NAME}@v1")


@pytest.mark.parametrize(
    ("found", "reason", "waits"),
    [
        (None, Reason.UNKNOWN_PRESET, False),
        (Pending(), Reason.MODEL_LOOKUP, True),
        (Failed(Trouble.DENIED, "no Role", LATER), Reason.MODEL_ACCESS_DENIED, False),
        (Failed(Trouble.UNREACHABLE, "no answer", LATER), Reason.MODEL_UNREACHABLE, True),
        (Failed(Trouble.BUSY, "429", LATER), Reason.MODEL_UNREACHABLE, True),
        (Failed(Trouble.MISSING, "no such model", LATER), Reason.MODEL_UNUSABLE, False),
        (Failed(Trouble.MALFORMED, "hidden_size: absurd", LATER), Reason.MODEL_UNUSABLE, False),
    ],
)
def test_what_is_not_known_is_said(plan, found, reason, waits):
    """With the reader's own words, and when it is tried again."""
    blocked = plan(naming(), model=found)
    assert (blocked.reason, blocked.waits) == (reason, waits)
    if isinstance(found, Failed):
        assert found.message in blocked.message
        assert "tried again at 2026-11-29T08:30:00Z" in blocked.message


@pytest.mark.parametrize(
    ("found", "goes"),
    [
        (None, False),
        (Pending(), True),
        (Failed(Trouble.UNREACHABLE, "no answer", LATER), True),
        (Failed(Trouble.MISSING, "gone", LATER), True),
    ],
)
def test_what_was_planned_goes_on_without_its_hub(found, goes):
    """A restart, or a hub that is away, changes nothing of a Workspace that was planned before."""
    planned = serde.structure(Workspace, naming(status={"plan": {"model": NAME, "revision": COMMIT}}))
    assert goes_on(planned, found) is goes
    assert not goes_on(serde.structure(Workspace, naming()), found)
    corrected = serde.structure(Workspace, naming("acme/other", status={"plan": {"model": NAME}}))
    assert not goes_on(corrected, found)


def test_a_model_that_was_read_is_planned_as_any_other(plan, catalog):
    """Its revision is the one that the agent fetches."""
    read = evolve(catalog.preset("phi-4"), name="tiny", model_id=NAME, revision=COMMIT)
    made = plan(naming(), model=Found(read, LATER))
    assert isinstance(made, Plan)
    assert made.preset is read
    assert pinned(read) == f"{NAME}@{COMMIT}"
    (agent,) = made.stateful_set["spec"]["template"]["spec"]["initContainers"]
    assert agent["args"] == ["--weights", f"hf://{NAME}@{COMMIT}"]


ARTIFACT = "oci://registry.example/models/tiny:1"
DIGEST = f"sha256:{'a' * 64}"


def artifact(name: str = ARTIFACT, model: str = ARTIFACT, **more):
    raw = naming(name, **more)
    raw["inference"]["preset"]["presetOptions"] = {"imagePullSecrets": ["pull"], "modelAccessSecret": "hub"}
    return raw


def test_an_artifact_is_read_with_its_registrys_secrets(catalog):
    """The hub's token is not for a registry."""
    key = key_of(serde.structure(Workspace, artifact()), catalog)

    assert (key.reference, key.secret, key.pull_secrets) == (ARTIFACT, "", ("pull",))
    assert key.namespace


@pytest.mark.parametrize("name", [ARTIFACT, "oci://registry.example/models/tiny"])
def test_an_artifact_stays_at_the_digest_that_was_planned(catalog, name: str):
    """Its tag may move; asked for by digest, the model keeps its name, so that the plan stays the same."""
    model = OciReference.parse(name).model_id
    planned = artifact(name, status={"plan": {"model": model, "revision": DIGEST}})
    key = key_of(serde.structure(Workspace, planned), catalog)

    assert key.reference == f"{model}@{DIGEST}"
    assert OciReference.parse(key.reference).model_id == model


def test_an_artifact_named_by_its_digest_is_asked_for_as_named(catalog):
    """There is nothing to add."""
    name = f"oci://registry.example/models/tiny@{DIGEST}"
    planned = artifact(name, status={"plan": {"model": name, "revision": DIGEST}})

    assert key_of(serde.structure(Workspace, planned), catalog).reference == name


def test_an_artifact_is_served_at_its_digest(plan, catalog):
    """Planned from its files, pulled by the agent."""
    read = evolve(catalog.preset("phi-4"), name="tiny", model_id=ARTIFACT, revision=DIGEST)
    made = plan(artifact(), model=Found(read, LATER))
    (agent,) = made.stateful_set["spec"]["template"]["spec"]["initContainers"]

    assert agent["args"] == ["--weights", f"{ARTIFACT}@{DIGEST}", "--pull-secret", "pull"]
