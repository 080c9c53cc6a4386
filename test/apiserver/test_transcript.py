"""Random requests, answered by the fake and by a real kube-apiserver: the records must be the same."""

from __future__ import annotations

import pytest

from kaito_controller.kube.metadata import Object
from kaito_controller.testing.apiserver import APIServer
from kaito_controller.testing.fake.stage import MemoryStage, RealStage, Stage, World
from kaito_controller.testing.fake.transcript import Recorder, script

STEPS = 40


def record(stage: Stage, seed: int) -> list[Object]:
    """What a stage answers to the script of a seed."""
    answers: list[Object] = []

    async def scene(world: World) -> None:
        recorder = Recorder(world)
        for number, step in enumerate(script(seed, STEPS)):
            answers.append(await recorder.play(number, step))

    stage.play(scene)
    return answers


@pytest.mark.scenario("PT1", "PT2", "PT3", "PT4")
@pytest.mark.parametrize("seed", range(12))
def test_the_fake_answers_as_the_real_one_does(seed: int, apiserver: APIServer) -> None:
    """Codes, reasons, causes, objects, generations, versions in their order and field managers are the same."""
    fake, real = record(MemoryStage(), seed), record(RealStage(apiserver), seed)
    for number, step in enumerate(script(seed, STEPS)):
        assert fake[number] == real[number], f"seed {seed}, request {number}: {step}"


def test_a_seed_gives_the_same_answers_again() -> None:
    """The fake is deterministic: names, UIDs, versions and times come from the clock and the dice handed in."""
    assert record(MemoryStage(), 3) == record(MemoryStage(), 3)
