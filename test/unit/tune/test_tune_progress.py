from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from inference_server import contract
from inference_server.refusal import InputError
from inference_server.tune import report
from inference_server.tune.channel import Channel, Listener
from inference_server.tune.progress import Progress, State


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def get(port: int, path: str) -> tuple[str, str]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return answer.headers["Content-Type"], answer.read().decode()


def test_the_time_left_counts_only_the_steps_of_this_try():
    clock = Clock()
    progress = Progress(clock)
    progress.begin(80, 100)
    assert progress.now().eta_s is None
    clock.now_s += 10
    progress.stepped(85, 0.85, 1000)
    assert progress.now().eta_s == 30
    assert progress.now().report() == {
        "state": "Training",
        "step": 85,
        "totalSteps": 100,
        "epoch": 0.85,
        "tokens": 1000,
        "etaSeconds": 30,
    }


def test_the_end_is_for_ever():
    progress = Progress()
    progress.tell(state=State.FAILED, message="why")
    progress.tell(state=State.TRAINING, message="late")
    assert progress.now().report() == {"state": "Failed", "message": "why"}


def test_a_report_stays_small_and_is_json_whatever_happens():
    progress = Progress()
    progress.tell(message="ü" * 100_000, loss=float("nan"), eval_loss=float("inf"))
    text = json.dumps(progress.now().report(), allow_nan=False)
    assert len(text) < contract.REPORT_MAX_BYTES
    assert "loss" not in json.loads(text)


def test_report_and_metrics_are_answered_to_the_end():
    progress = Progress()
    with report.answering(progress, "127.0.0.1", 0, lambda: {"0": (5, 7)}) as port:
        assert json.loads(get(port, contract.REPORT_PATH)[1]) == {"state": "Preparing"}
        progress.begin(0, 10)
        progress.stepped(3, 0.5, 42)
        progress.tell(loss=1.5, learning_rate=0.1)
        kind, text = get(port, contract.METRICS_PATH)
        assert kind.startswith("text/plain")
        for line in (
            'kaito_tuning_state{state="Training"} 1.0',
            'kaito_tuning_state{state="Failed"} 0.0',
            "kaito_tuning_step 3.0",
            "kaito_tuning_steps 10.0",
            "kaito_tuning_loss 1.5",
            "kaito_tuning_learning_rate 0.1",
            "kaito_tuning_tokens_total 42.0",
            'kaito_tuning_gpu_memory_used_bytes{gpu="0"} 5.0',
            'kaito_tuning_gpu_memory_total_bytes{gpu="0"} 7.0',
        ):
            assert line in text.splitlines()
        progress.tell(state=State.FAILED, message="why")
        assert json.loads(get(port, contract.REPORT_PATH)[1])["message"] == "why"
        assert get(port, contract.HEALTH_PATH)[1] == ""
        with pytest.raises(urllib.error.HTTPError, match="404"):
            get(port, "/other")
        with pytest.raises(InputError, match="a free port"), report.answering(progress, "127.0.0.1", port):
            pass


def test_a_process_tells_through_its_pipe(tmp_path: Path):
    path = tmp_path / "told"
    with path.open("w", encoding="utf-8") as pipe:
        channel = Channel(pipe)
        channel.tell(state="Saving", message="saving")
        channel.begin(2, 8)
        channel.stepped(4, 0.5, 9)
        channel.gpu_memory("1", 3, 4)
        channel.ended(65, "broken")
    progress, gpus = Progress(), {}
    listener = Listener(progress, gpus)
    listener.listen(path.open("rb"))
    assert listener.ended == (65, "broken")
    assert gpus == {"1": (3, 4)}
    assert progress.now().step == 4
    assert progress.now().state is State.TRAINING
