"""The way of a Workspace that tunes against a real API server, from apply to Succeeded, and what goes wrong on it.

The node provisioner, the Job controller and the kubelet are played by the test (`kaito_controller.testing.scenario`).
"""

from __future__ import annotations

import json

from kaito_controller.api import labels as keys
from kaito_controller.api.workspace import WORKSPACES
from kaito_controller.kube.core import CONFIG_MAPS, JOBS, NODES, SERVICES, STATEFUL_SETS
from kaito_controller.testing.builders import gpu_labels
from kaito_controller.testing.scenario import condition_of, message_of, operator


def container(name, **state):
    """Return a container's status as the API server takes it."""
    return {"name": name, "image": "x", "imageID": "", "ready": False, "restartCount": 0, "state": state}


def ended(name, code, words=""):
    """Return the status of a pod one of whose containers ended."""
    state = {"terminated": {"exitCode": code, "message": words, "reason": "Completed" if code == 0 else "Error"}}
    statuses = "initContainerStatuses" if name == "fetch" else "containerStatuses"
    return {"phase": "Failed" if code else "Succeeded", statuses: [container(name, **state)]}


def trains():
    """Return the status of a pod that trains."""
    return {"phase": "Running", "containerStatuses": [container("tune", running={"startedAt": "2026-11-22T12:00:00Z"})]}


async def started(hands, name, **tuning):
    """Bring a Workspace to a Job whose pod trains; return claim and Job."""
    await hands.given_workspace(name, tuning=tuning)
    (claim,) = await hands.node_claims(name)
    await hands.provision(claim)
    job = await hands.job(name)
    await hands.job_pod(name, 0, node_name=claim["metadata"]["name"], status=trains())
    await hands.shows(name, "JobStarted", "True", "WorkspaceTuningJobStatusStarted")
    return claim, job


async def test_from_apply_to_succeeded(apiserver, hands):
    """Given a tuning, then a node, a Job and no Service are made; when the Job is done, so is the Workspace."""
    async with operator(apiserver.kubeconfig) as running:
        await hands.given_workspace("learns", tuning={})
        (claim,) = await hands.node_claims("learns")
        await hands.shows("learns", "JobStarted", "False", "WorkspaceTuningJobStatusPending")
        assert await hands.find(JOBS, "learns", hands.namespace) is None

        await hands.provision(claim)
        job = await hands.job("learns")
        assert job["metadata"]["ownerReferences"][0]["kind"] == "Workspace"
        assert job["metadata"]["labels"][keys.WORKSPACE_NAME] == "learns"
        assert job["metadata"]["annotations"][keys.WORKSPACE_REVISION] == "1"
        (tune,) = job["spec"]["template"]["spec"]["containers"]
        assert tune["resources"]["limits"] == {"nvidia.com/gpu": "1"}
        for kind, name in ((SERVICES, "learns"), (SERVICES, "learns-headless"), (STATEFUL_SETS, "learns")):
            assert await hands.find(kind, name, hands.namespace) is None

        await hands.job_pod("learns", 0, node_name=claim["metadata"]["name"], status=trains())
        runs = await hands.shows("learns", "JobStarted", "True", "WorkspaceTuningJobStatusStarted")
        assert runs["status"]["state"] == "Running"
        assert runs["status"]["workerNodes"] == [claim["metadata"]["name"]]
        assert condition_of(runs, "WorkspaceSucceeded") == ("False", "workspacePending")
        assert runs["status"]["plan"]["dataParallel"] == 1
        assert "--method" in runs["status"]["plan"]["args"]

        words = json.dumps({"state": "Succeeded", "step": 3, "totalSteps": 3, "output": "r/a:1@sha256:ab"})
        await hands.job_pod("learns", 0, node_name=claim["metadata"]["name"], status=ended("tune", 0, words))
        await hands.finish_job("learns", "Complete")
        done = await hands.shows("learns", "WorkspaceSucceeded", "True", "workspaceSucceeded")
        assert done["status"]["state"] == "Succeeded"
        assert done["status"]["tuning"]["output"] == "r/a:1@sha256:ab"
        assert condition_of(done, "InferenceReady") == ("", "")
        for reason in ("NodeClaimCreated", "WorkloadCreated", "WorkspaceTuningJobStatusStarted"):
            assert await hands.told("learns", reason)
        assert "r/a:1@sha256:ab" in await hands.told("learns", "workspaceSucceeded")
        header, row = apiserver.kubectl("get", "workspace", "learns", "--namespace", hands.namespace).splitlines()[:2]
        assert {"JOBSTARTED", "WORKSPACESUCCEEDED", "STATE"} <= set(header.split())
        assert "Succeeded" in row.split()

        before = await running.settled()
        await hands.client.delete(JOBS, "learns", hands.namespace)
        await hands.end_pod("learns")
        assert await running.settled() == before
        assert (await hands.workspace("learns"))["status"]["state"] == "Succeeded"
        assert await hands.find(JOBS, "learns", hands.namespace) is None
        await hands.take_down("learns", claim)


async def test_a_restarted_operator_writes_nothing_of_a_tuning_that_runs(apiserver, hands):
    """Nor of one that has ended: what was known of either stands until somebody tells anew."""
    async with operator(apiserver.kubeconfig) as first:
        claim, _ = await started(hands, "steady")
        await hands.job_pod("steady", 0, node_name=claim["metadata"]["name"], status=trains())
        await hands.shows("steady", "JobStarted", "True")
        await first.settled()
    async with operator(apiserver.kubeconfig) as second:
        assert await second.settled() == 0
        words = json.dumps({"state": "Succeeded", "step": 3, "totalSteps": 3, "output": "r/a:1@sha256:ab"})
        await hands.job_pod("steady", 0, node_name=claim["metadata"]["name"], status=ended("tune", 0, words))
        await hands.finish_job("steady", "Complete")
        await hands.shows("steady", "WorkspaceSucceeded", "True")
        await second.settled()
    async with operator(apiserver.kubeconfig) as third:
        assert await third.settled() == 0
        await hands.end_pod("steady")
        await hands.take_down("steady", claim)


async def test_data_that_cannot_be_learnt_from_fails(apiserver, hands):
    """Given data with a broken line, then Failed says which; when the spec is corrected, a new Job starts."""
    async with operator(apiserver.kubeconfig):
        claim, job = await started(hands, "broken")
        words = "train.jsonl:3: must be JSON, found 'x'"
        await hands.job_pod("broken", 0, node_name=claim["metadata"]["name"], status=ended("fetch", 65, words))
        await hands.finish_job("broken", "Failed", reason="PodFailurePolicy", message="exit code 65")
        failed = await hands.shows("broken", "JobStarted", "False", "WorkspaceTuningJobStatusFailed")
        assert words in message_of(failed, "WorkspaceSucceeded")
        assert condition_of(failed, "WorkspaceSucceeded") == ("False", "workspaceFailed")
        assert failed["status"]["state"] == "Failed"
        assert words in await hands.told("broken", "WorkspaceTuningJobStatusFailed")

        change = {"tuning": {"input": {"urls": ["https://data.example.com/corrected.jsonl"]}}}
        await hands.change_workspace("broken", change)
        again = await hands.job("broken", other_than=job["metadata"]["uid"])
        assert again["metadata"]["annotations"][keys.WORKSPACE_REVISION] == "2"
        assert "https://data.example.com/corrected.jsonl" in json.dumps(again)
        await hands.shows("broken", "JobStarted", "False", "WorkspaceTuningJobStatusPending")
        assert await hands.told("broken", "WorkloadUpdated")
        await hands.end_pod("broken")
        await hands.take_down("broken", claim)


async def test_a_try_that_fails_is_not_the_end(apiserver, hands):
    """Given a pod that failed and may be tried again, then the Workspace runs on, and succeeds with the next one."""
    async with operator(apiserver.kubeconfig):
        claim, _ = await started(hands, "again")
        node = claim["metadata"]["name"]
        await hands.job_pod("again", 0, node_name=node, status=ended("tune", 69, "registry does not answer"))
        await hands.job_pod("again", 1, node_name=node, status=trains())
        await hands.client.merge_patch(
            JOBS, "again", hands.namespace, {"status": {"failed": 1, "active": 1}}, subresource="status"
        )
        told = await hands.shows_message("again", "WorkspaceSucceeded", "registry does not answer")
        assert told["status"]["state"] == "Running"
        assert condition_of(told, "JobStarted")[0] == "True"
        await hands.job_pod("again", 1, node_name=node, status=ended("tune", 0))
        await hands.client.merge_patch(JOBS, "again", hands.namespace, {"status": {"active": 0}}, subresource="status")
        await hands.finish_job("again", "Complete")
        await hands.shows("again", "WorkspaceSucceeded", "True")
        for number in (0, 1):
            await hands.end_pod("again", number)
        await hands.take_down("again", claim)


async def test_the_configuration_is_waited_for_and_followed(apiserver, hands):
    """Given a ConfigMap that is missing, then wrong, then right, each is told; a change of it makes a new Job."""
    async with operator(apiserver.kubeconfig):
        await hands.given_workspace("tells", tuning={"config": "mine"})
        await hands.shows("tells", "JobStarted", "False", "ConfigMapNotFound")
        config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mine", "namespace": hands.namespace}}
        apiserver.apply({**config, "data": {"training_config.yaml": "training_config: {Lora: {}}"}})
        wrong = await hands.shows("tells", "JobStarted", "False", "ConfigInvalid")
        assert "Unrecognized section: 'Lora'" in message_of(wrong, "JobStarted")
        await hands.node_claims("tells", 0)
        right = "training_config: {TrainingArguments: {per_device_train_batch_size: 1}}"
        apiserver.apply({**config, "data": {"training_config.yaml": right}})
        (claim,) = await hands.node_claims("tells")
        await hands.provision(claim)
        job = await hands.job("tells")
        assert "--config-file" in job["spec"]["template"]["spec"]["containers"][0]["args"]

        other = {"data": {"training_config.yaml": f"{right} # more"}}
        await hands.client.merge_patch(CONFIG_MAPS, "mine", hands.namespace, other)
        await hands.change_workspace("tells", {"metadata": {"annotations": {"look": "again"}}})
        again = await hands.job("tells", other_than=job["metadata"]["uid"])
        assert again["metadata"]["annotations"][keys.TUNING_RUN] != job["metadata"]["annotations"][keys.TUNING_RUN]
        await hands.take_down("tells", claim)


async def test_a_new_job_waits_for_the_pods_of_the_old(apiserver, hands):
    """Given a running Job, when the spec changes, then it goes, and the next comes when its pod has ended."""
    async with operator(apiserver.kubeconfig) as running:
        claim, job = await started(hands, "changes")
        change = {"tuning": {"input": {"urls": ["https://data.example.com/other.jsonl"]}}}
        await hands.change_workspace("changes", change)
        await hands.gone(JOBS, "changes", hands.namespace)
        await running.settled()
        assert await hands.find(JOBS, "changes", hands.namespace) is None
        await hands.end_pod("changes")
        await hands.job("changes", other_than=job["metadata"]["uid"])
        await hands.take_down("changes", claim)


async def test_deleting_the_job_of_a_failed_run_tries_it_again(apiserver, hands):
    """Given Failed, when the user deletes the Job, then another one is made of the same spec."""
    async with operator(apiserver.kubeconfig):
        claim, job = await started(hands, "retried")
        await hands.job_pod("retried", 0, node_name=claim["metadata"]["name"], status=ended("tune", 70))
        await hands.finish_job("retried", "Failed", reason="BackoffLimitExceeded")
        await hands.shows("retried", "JobStarted", "False", "WorkspaceTuningJobStatusFailed")
        await hands.client.delete(JOBS, "retried", hands.namespace)
        await hands.job("retried", other_than=job["metadata"]["uid"])
        await hands.shows("retried", "JobStarted", "False", "WorkspaceTuningJobStatusPending")
        await hands.end_pod("retried")
        await hands.take_down("retried", claim)


async def test_deletion_ends_the_job_before_the_node(apiserver, hands):
    """Given a tuning that runs, when it is deleted, then Job, pods, claims and it go, each after the last."""
    async with operator(apiserver.kubeconfig):
        claim, _ = await started(hands, "leaves")
        await hands.client.delete(WORKSPACES, "leaves", hands.namespace)
        await hands.gone(JOBS, "leaves", hands.namespace)
        await hands.shows("leaves", "WorkspaceDeleting", "True", "workspaceDeleted")
        assert len(await hands.node_claims("leaves", 1)) == 1
        await hands.end_pod("leaves")
        await hands.node_claims("leaves", 0)
        await hands.release(claim)
        await hands.gone(WORKSPACES, "leaves", hands.namespace)


async def test_existing_nodes_are_tuned_on(apiserver, hands):
    """Given labelled nodes and no instance type, which KAITO cannot tune on, then the Job takes all GPUs of one."""
    async with operator(apiserver.kubeconfig):
        selector = {"pool": hands.namespace}
        node = f"{hands.namespace}-own"
        size = {keys.NVIDIA_GPU: "2", "cpu": "8", "memory": "64Gi", "pods": "110"}
        await hands.join(node, labels={**selector, **gpu_labels(count=2)}, size=size)
        await hands.given_workspace("own", tuning={}, instance_type="", match_labels=selector)
        job = await hands.job("own")
        (tune,) = job["spec"]["template"]["spec"]["containers"]
        assert tune["resources"]["limits"] == {"nvidia.com/gpu": "2"}
        await hands.finish_job("own", "Complete")
        done = await hands.shows("own", "WorkspaceSucceeded", "True")
        assert condition_of(done, "NodeClaimReady") == ("", "")
        await hands.node_claims("own", 0)
        await hands.take_down("own")
        await hands.remove(NODES, node)


async def test_a_strangers_job_is_left_alone(apiserver, hands):
    """Given a Job of the Workspace's name that is not ours, then the Workspace says so and touches nothing."""
    async with operator(apiserver.kubeconfig):
        template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "x"}]}}
        body = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "taken", "namespace": hands.namespace},
            "spec": {"template": template},
        }
        theirs = await hands.client.create(JOBS, body)
        await hands.given_workspace("taken", tuning={})
        (claim,) = await hands.node_claims("taken")
        await hands.provision(claim)
        told = await hands.shows("taken", "JobStarted", "False", "WorkloadConflict")
        assert "exists already and has no owner" in message_of(told, "JobStarted")
        assert (await hands.job("taken"))["metadata"]["uid"] == theirs["metadata"]["uid"]
        await hands.take_down("taken", claim)
        await hands.remove(JOBS, "taken", hands.namespace)
