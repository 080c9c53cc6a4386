from __future__ import annotations

import re

import pytest

from kaito_controller.api.conditions import ConditionType
from kaito_controller.api.reasons import Reason

# metav1.Condition's pattern for reasons.
WIRE = re.compile(r"[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?")


@pytest.mark.parametrize("reason", list(Reason))
def test_a_reason_can_be_written_and_explains_itself(reason):
    """It has the form the API asks for, and three sentences for the reference page."""
    assert WIRE.fullmatch(reason)
    for sentence in (reason.meaning, reason.cause, reason.remedy):
        assert sentence.endswith((".", "true")), sentence
    assert Reason(reason.value) is reason


@pytest.mark.parametrize("condition", list(ConditionType))
def test_a_condition_type_says_whose_it_is_and_what_true_means(condition):
    """For the reference page."""
    assert condition.meaning.endswith(".")
    assert set(condition.kinds) <= {"Workspace", "NodeClaim"}
    assert condition.kinds


def test_upstreams_names_are_kept():
    """Scripts that wait for KAITO's conditions and reasons go on working."""
    assert {
        "NodeClaimReady",
        "NodesReady",
        "ResourceReady",
        "InferenceReady",
        "JobStarted",
        "WorkspaceDeleting",
        "WorkspaceSucceeded",
        "BenchmarkCompleted",
        "ModelMirrorReady",
        "Launched",
        "Registered",
        "Initialized",
        "Ready",
    } <= set(ConditionType)
    assert {
        "NodeNotReady",
        "NodePluginsNotReady",
        "NodeClaimNotReady",
        "NodeClaimsReady",
        "workspaceResourceStatusNotReady",
        "workspaceResourceStatusSuccess",
        "WorkspaceInferenceStatusPending",
        "WorkspaceInferenceStatusSuccess",
        "WorkspaceTuningJobStatusStarted",
        "workspacePending",
        "workspaceSucceeded",
        "workspaceFailed",
        "workspaceDeleted",
        "AwaitingReconciliation",
        "LaunchFailed",
    } <= set(Reason)


def test_what_waiting_cannot_mend_can_be_corrected_in_place():
    """An unknown preset or instance type must not force its owner to delete the Workspace."""
    assert {"UnknownPreset", "UnknownInstanceType", "ModelDoesNotFit"} <= {one for one in Reason if one.correctable}
