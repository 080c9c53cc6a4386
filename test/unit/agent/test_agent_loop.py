"""The agent in virtual time, with real files and real checks, beside an engine that keeps vLLM's rules."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field

from inference_server import contract
from inference_server.agent import agent as agent_module
from inference_server.agent import report, sources
from inference_server.agent.agent import Agent
from inference_server.agent.base_model import BaseModel
from inference_server.agent.decisions import REFRESH_S, RETRY_REFUSED_S
from inference_server.agent.engine import EngineUnreachableError, Listing
from inference_server.agent.inspection import Checks
from inference_server.agent.preparation import Preparer
from inference_server.agent.refusal import AdapterRefusedError, Reason
from inference_server.agent.sources import Brought, FolderSource, Sources
from inference_server.agent.wanted import WantedAdapter
from kaito_controller.testing import adapter_files


@define
class Engine:
    """What vLLM 0.32 does with these calls: a name once only, no base model's name, and an empty list after a start."""

    adapters: dict[str, str] = field(factory=dict)
    running: bool = True
    serves_api: bool = True
    refuses: set[str] = field(factory=set)
    calls: list[str] = field(factory=list)

    def listing(self) -> Listing:
        if not self.running:
            raise EngineUnreachableError("connection refused")
        return Listing(adapters=dict(self.adapters), base=frozenset({"tiny-phi3"}), serves_api=self.serves_api)

    def load(self, name: str, folder: str) -> None:
        self.listing()
        self.calls.append(f"load {name}")
        config = json.loads(Path(folder, "adapter_config.json").read_text())
        if name in self.adapters or config["lora_alpha"] in self.refuses:
            raise AdapterRefusedError(reason=Reason.LOAD_REFUSED, message="the engine answered 400", retryable=True)
        self.adapters[name] = folder

    def unload(self, name: str) -> None:
        self.listing()
        self.calls.append(f"unload {name}")
        self.adapters.pop(name, None)

    def restart(self) -> None:
        self.adapters.clear()


@define
class Registry:
    """Images by reference, each a folder; and what a fetch of one that is not there says."""

    images: dict[str, Path] = field(factory=dict)
    away: bool = False
    pulls: int = 0
    asked: Callable[[], None] = lambda: None
    fetching: Callable[[Path], None] = lambda _: None

    def version(self, wanted: WantedAdapter) -> str:
        self.asked()
        if self.away:
            raise AdapterRefusedError(reason=Reason.FETCH_FAILED, message="no answer", retryable=True)
        folder = self.images.get(str(wanted.image))
        if folder is None:
            raise AdapterRefusedError(reason=Reason.SOURCE_NOT_FOUND, message=f"{wanted.image}: no such image")
        return f"sha256:{folder.name}"

    def fetch(self, wanted: WantedAdapter, folder: Path) -> Brought:
        self.pulls += 1
        self.fetching(folder)
        digest = self.version(wanted)
        shutil.copytree(self.images[str(wanted.image)], folder, dirs_exist_ok=True)
        return Brought(digest=digest, version=digest)


@define
class SlowEngine:
    """The same engine, with another way to load."""

    engine: Engine
    load: Callable[[str, str], None]

    def listing(self) -> Listing:
        return self.engine.listing()

    def unload(self, name: str) -> None:
        self.engine.unload(name)


@define
class World:
    """An agent with all that is around it, and a clock that only `wait` moves."""

    root: Path
    engine: Engine = field(factory=Engine)
    registry: Registry = field(factory=Registry)
    now: float = 0.0
    max_rank: int = 16
    base: BaseModel = field(factory=lambda: BaseModel(names=("tiny-phi3",)))
    secrets: str = ""
    pending: list[Callable[[], None]] = field(factory=list)
    deferred: bool = False
    agent: Agent = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """A new agent process on the same cache."""
        cache = self.root / "cache"
        checks = Checks(find_base=lambda: self.base, max_rank=self.max_rank)
        known = Sources(image=self.registry, folder=FolderSource())
        self.agent = Agent(
            engine=self.engine,
            preparing=Preparer(cache=cache, sources=known, checks=checks),
            cache=str(cache),
            read_wanted=self._wanted,
            read_secrets=lambda: self.secrets,
            submit=self._submit,
            clock=lambda: self.now,
        )

    def _wanted(self) -> bytes | None:
        path = self.root / "adapters.json"
        return path.read_bytes() if path.exists() else None

    def _submit(self, task: Callable[[], None]) -> None:
        if self.deferred:
            self.pending.append(task)
        else:
            task()

    def adapter(self, name: str, **config: Any) -> Path:
        return adapter_files.write(self.root / "made" / name, **config)

    def want(self, *entries: dict[str, Any]) -> None:
        (self.root / "adapters.json").write_text(json.dumps({"adapters": entries}))

    def wait(self, seconds: float = 3) -> None:
        """Lets time pass, one step a second."""
        for _ in range(int(seconds)):
            self.agent.step()
            self.now += 1

    def told(self, name: str) -> dict[str, Any]:
        (entry,) = (one for one in self.agent.told["adapters"] if one["name"] == name)
        return entry

    def state(self, name: str) -> str:
        return str(self.told(name)["state"])


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(root=tmp_path)
    world.registry.images["reg/a:1"] = world.adapter("one")
    return world


def wanted(name: str = "a", image: str = "reg/a:1", **more: Any) -> dict[str, Any]:
    return {"name": name, "image": image, **more}


def test_added_and_removed_on_a_running_engine(world: World):
    """From an image and from a volume; the report says from where, what exactly and of which rank."""
    world.want(wanted(), {"name": "b", "folder": str(world.adapter("two", r=4))})
    world.wait()
    assert set(world.engine.adapters) == {"a", "b"}
    assert world.told("a") == {
        "name": "a", "state": "Loaded", "source": "reg/a:1", "rank": 8, "digest": "sha256:one"}  # fmt: skip
    assert world.told("b")["rank"] == 4
    assert world.told("b")["digest"].startswith("sha256:")
    world.want(wanted())
    world.wait()
    assert set(world.engine.adapters) == {"a"}
    assert [one["name"] for one in world.agent.told["adapters"]] == ["a"]


def test_an_engine_that_restarted_gets_its_adapters_again(world: World):
    world.want(wanted())
    world.wait()
    world.engine.running = False
    world.wait(5)
    assert world.told("a")["state"] == "Pending"
    assert world.told("a")["reason"] == "EngineUnreachable"
    world.engine.restart()
    world.engine.running = True
    world.wait(2)
    assert world.state("a") == "Loaded"
    assert world.engine.calls == ["load a", "load a"]
    assert world.registry.pulls == 1


def test_a_settled_world_is_left_alone(world: World):
    world.want(wanted())
    world.wait(600)
    assert world.engine.calls == ["load a"]
    assert world.registry.pulls == 1


def test_a_tag_that_moved_is_replaced_under_the_same_name(world: World):
    world.want(wanted())
    world.wait()
    before = world.engine.adapters["a"]
    world.registry.images["reg/a:1"] = world.adapter("newer", lora_alpha=32)
    world.wait(REFRESH_S + 3)
    assert world.told("a")["digest"] == "sha256:newer"
    assert world.state("a") == "Loaded"
    assert world.engine.adapters["a"] != before
    assert Path(before).is_dir(), "requests that began with it may still read it"
    world.wait(agent_module.UNUSED_S + 3)
    assert not Path(before).exists()
    assert Path(world.engine.adapters["a"]).is_dir()


def test_a_replacement_that_the_engine_refuses_leaves_the_earlier_one(world: World):
    world.want(wanted())
    world.wait()
    before = world.engine.adapters["a"]
    world.engine.refuses.add(32.0)
    world.registry.images["reg/a:1"] = world.adapter("newer", lora_alpha=32)
    world.wait(REFRESH_S + 3)
    assert world.engine.adapters["a"] == before
    assert world.told("a")["state"] == "Failed"
    assert "the engine goes on with the one before" in world.told("a")["message"]
    world.engine.refuses.clear()
    world.wait(300)
    assert world.state("a") == "Loaded"
    assert world.engine.adapters["a"] != before


def test_an_adapter_is_held_against_a_base_model_that_was_downloaded_meanwhile(world: World):
    """It was fetched while the engine was starting; what it does not fit on is known when it is to be loaded."""
    world.engine.running = False
    world.want(wanted())
    world.wait()
    assert world.state("a") == "Pending"
    world.base = BaseModel(names=("tiny-phi3",), shapes={adapter_files.LAYER: (64, 64)})
    world.engine.running = True
    world.wait()
    assert (world.told("a")["state"], world.told("a")["reason"]) == ("Failed", "WrongBaseModel")
    assert world.engine.calls == []


def test_a_registry_that_is_away_takes_nothing_from_what_is_loaded(world: World):
    world.want(wanted())
    world.wait()
    world.registry.away = True
    world.wait(REFRESH_S + 3)
    assert (world.told("a")["state"], world.told("a")["reason"]) == ("Loaded", "FetchFailed")
    world.start()
    world.engine.restart()
    world.wait()
    assert world.state("a") == "Loaded", "a restarted agent uses what it fetched before"


@pytest.mark.parametrize("cure", ["pushed", "secret", "list"])
def test_failed_is_recovered_by_a_change(world: World, cure: str):
    """The image appears, a Secret changes, or the list names another: each is soon Loaded."""
    world.want(wanted(image="reg/none:1"))
    world.wait(20)
    assert (world.told("a")["state"], world.told("a")["reason"]) == ("Failed", "SourceNotFound")
    if cure == "list":
        world.want(wanted())
    else:
        world.registry.images["reg/none:1"] = world.adapter("late")
        world.secrets = "changed" if cure == "secret" else ""
    world.wait(RETRY_REFUSED_S if cure == "pushed" else 3)
    assert world.state("a") == "Loaded"


def test_what_was_refused_is_not_fetched_again_until_it_changes(world: World):
    world.registry.images["reg/a:1"] = world.adapter("large", r=64)
    world.want(wanted())
    world.wait(600)
    assert world.registry.pulls == 1
    told = world.told("a")
    assert (told["state"], told["reason"], told["rank"]) == ("Failed", contract.REASON_RANK_TOO_HIGH, 64)
    assert told["digest"] == "sha256:large"
    world.max_rank = 64
    world.start()
    world.wait()
    assert world.state("a") == "Loaded", "the engine and the agent were started for this rank"


def test_retries_slow_down(world: World):
    asked: list[float] = []
    world.registry.away = True
    world.registry.asked = lambda: asked.append(world.now)
    world.want(wanted())
    world.wait(1000)
    gaps = [later - earlier for earlier, later in pairwise(asked)]
    assert gaps == sorted(gaps)
    assert gaps[0] <= 3
    assert 250 <= gaps[-1] <= 301


def test_strength_is_another_folder_with_scaled_alpha(world: World):
    world.want(wanted(strength="0.5"))
    world.wait()
    half = world.engine.adapters["a"]
    assert json.loads(Path(half, "adapter_config.json").read_text())["lora_alpha"] == 8.0
    world.want(wanted())
    world.wait()
    whole = world.engine.adapters["a"]
    assert whole != half
    assert json.loads(Path(whole, "adapter_config.json").read_text())["lora_alpha"] == 16.0


def test_names_that_are_taken(world: World):
    """The base model's name, and one that somebody else loaded: told, and left alone."""
    world.engine.adapters["theirs"] = "/somebody/elses"
    world.want(wanted("tiny-phi3"), wanted("theirs"))
    world.wait()
    assert [world.told(name)["reason"] for name in ("tiny-phi3", "theirs")] == ["NameTaken", "NameTaken"]
    world.want()
    world.wait()
    assert world.engine.adapters == {"theirs": "/somebody/elses"}


@pytest.mark.parametrize("text", [b"{", b"[]", b'{"adapters": 3}'])
def test_a_broken_list_takes_nothing_away(world: World, text: bytes):
    world.want(wanted())
    world.wait()
    (world.root / "adapters.json").write_bytes(text)
    world.wait()
    assert world.state("a") == "Loaded"
    assert world.agent.told["message"]
    world.want()
    world.wait()
    assert not world.engine.adapters


def test_a_broken_entry_keeps_what_the_engine_has_under_its_name(world: World):
    world.want(wanted())
    world.wait()
    world.want(wanted(strength="7"))
    world.wait()
    assert "a" in world.engine.adapters
    assert (world.told("a")["state"], world.told("a")["reason"]) == ("Failed", "SpecInvalid")


def test_no_list_yet_unloads_nothing(world: World):
    """The volume may come a moment after an agent that restarted."""
    world.want(wanted())
    world.wait()
    (world.root / "adapters.json").unlink()
    world.start()
    world.wait(30)
    assert "a" in world.engine.adapters


def test_an_answer_for_an_earlier_wish_is_not_taken_for_the_present_one(world: World):
    world.registry.images["reg/b:1"] = world.adapter("other", r=4)
    world.deferred = True
    world.want(wanted())
    world.wait(1)
    world.want(wanted(image="reg/b:1"))
    world.wait(1)
    for task in world.pending:
        task()
    world.wait()
    assert world.told("a")["digest"] == "sha256:other"


def test_a_later_rank_only_prepares(world: World):
    """Its engine has no API; rank 0 tells it what to load, from the same path."""
    world.engine.serves_api = False
    world.want(wanted())
    world.wait()
    assert world.state("a") == "Pending"
    assert "rank 0" in world.told("a")["message"]
    assert world.engine.calls == []


def test_a_hundred_adapters_are_loaded_in_small_steps(world: World):
    folder = str(world.adapter("one"))
    world.want(*({"name": f"a{number}", "folder": folder} for number in range(100)))
    world.wait(2)
    assert 0 < len(world.engine.adapters) < 100
    world.wait(20)
    assert len(world.engine.adapters) == 100
    raw = report.encode(world.agent.told)
    assert len(raw) <= contract.REPORT_MAX_BYTES
    assert len(json.loads(raw)["adapters"]) == 100


def test_a_report_of_long_failures_stays_within_its_size(world: World):
    entry = {"name": "n" * 250, "state": "Failed", "reason": "FetchFailed", "message": "m" * 300, "source": "s" * 200}
    raw = report.encode({"adapters": [entry] * 256})
    assert len(raw) <= contract.REPORT_MAX_BYTES
    told = json.loads(raw)
    assert told["omitted"] + len(told["adapters"]) == 256


def test_a_report_that_is_too_long_without_adapters_was_shortened_for_ever():
    assert json.loads(report.encode({"adapters": [], "weights": {"source": "s" * 70_000}}))["adapters"] == []


def test_a_pickle_in_a_volume_is_told_as_one(world: World):
    folder = world.adapter("pickled")
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    world.want({"name": "b", "folder": str(folder)})
    world.wait()
    assert world.told("b")["reason"] == "FilesInvalid"
    assert "only adapter_model.bin, which may run code" in world.told("b")["message"]


def test_a_link_out_of_the_volume_is_not_followed(world: World):
    folder = world.adapter("linked")
    secret = world.root / "secret"
    secret.write_bytes((folder / "adapter_model.safetensors").read_bytes())
    (folder / "adapter_model.safetensors").unlink()
    (folder / "adapter_model.safetensors").symlink_to(secret)
    world.want({"name": "b", "folder": str(folder)})
    world.wait()
    assert world.state("b") == "Failed"
    assert "a link out of its folder" in world.told("b")["message"]


def test_changed_files_of_a_volume_are_loaded_anew(world: World):
    folder = world.adapter("volume")
    world.want({"name": "b", "folder": str(folder)})
    world.wait()
    before = world.told("b")["digest"]
    world.adapter("volume", lora_alpha=4)
    world.wait(REFRESH_S + 3)
    assert world.told("b")["digest"] != before
    assert world.state("b") == "Loaded"


def test_two_fetches_for_one_name_mixed_their_files(world: World):
    """The image was corrected while the first was still on its way, slowly."""
    world.registry.images["reg/b:1"] = world.adapter("other", r=4)
    world.deferred = True
    world.want(wanted())
    world.wait(1)
    world.want(wanted(image="reg/b:1"))
    world.wait(1)
    first, second = world.pending
    places: list[Path] = []

    def overtaken(folder: Path) -> None:
        places.append(folder)
        if len(places) == 1:
            second()

    world.registry.fetching = overtaken
    first()
    world.pending.clear()
    world.deferred = False
    world.wait()
    assert len(set(places)) == 2
    assert (world.told("a")["digest"], world.told("a")["rank"], world.state("a")) == ("sha256:other", 4, "Loaded")
    assert list((world.root / "cache" / ".incoming").iterdir()) == []


def test_what_a_killed_agent_was_fetching_stayed_on_the_disk(world: World):
    left = world.root / "cache" / ".incoming" / "x"
    left.mkdir(parents=True)
    world.start()
    assert not left.exists()


def test_a_tag_that_moved_during_the_fetch_and_back_kept_the_other_content(world: World):
    first, other = world.registry.images["reg/a:1"], world.adapter("other", lora_alpha=32)

    def move(_: Path) -> None:
        world.registry.images["reg/a:1"] = other

    world.registry.fetching = move
    world.want(wanted())
    world.wait()
    assert world.told("a")["digest"] == "sha256:other"
    world.registry.fetching = lambda _: None
    world.registry.images["reg/a:1"] = first
    world.wait(REFRESH_S + 3)
    assert world.told("a")["digest"] == "sha256:one"


def test_an_image_that_is_refused_while_it_is_unpacked_was_fetched_every_five_minutes(world: World):
    def bomb(_: Path) -> None:
        raise AdapterRefusedError(reason=Reason.FILES_INVALID, message="it unpacks to more than 32 GiB")

    world.registry.fetching = bomb
    world.want(wanted())
    world.wait(1000)
    assert world.registry.pulls == 1
    assert world.told("a")["message"] == "it unpacks to more than 32 GiB"
    world.registry.images["reg/a:1"] = world.adapter("better")
    world.registry.fetching = lambda _: None
    world.wait(400)
    assert world.state("a") == "Loaded"


def test_a_list_that_is_as_before_a_mistake_was_told_as_broken_for_ever(world: World):
    world.want(wanted())
    world.wait()
    good = (world.root / "adapters.json").read_bytes()
    (world.root / "adapters.json").write_bytes(b"{")
    world.wait()
    assert world.agent.told["message"]
    (world.root / "adapters.json").write_bytes(good)
    world.wait()
    assert "message" not in world.agent.told


def test_a_broken_list_was_told_every_second(world: World, capsys: pytest.CaptureFixture[str]):
    (world.root / "adapters.json").write_bytes(b'{"adapters": "two  spaces"}')
    world.wait(20)
    assert capsys.readouterr().err.count("two") == 1


def test_a_slow_engine_is_not_taken_for_a_step_that_hangs(world: World):
    """Eight loads of five minutes each outlasted what /health takes for alive."""
    folder = str(world.adapter("one"))
    load = world.engine.load

    def slow(name: str, path: str) -> None:
        world.now += 100
        load(name, path)

    world.agent.engine = SlowEngine(world.engine, slow)
    world.want(*({"name": f"a{number}", "folder": folder} for number in range(8)))
    longest = 0.0
    for _ in range(20):
        began = world.now
        world.agent.step()
        longest = max(longest, world.now - began)
        world.now += 1
    assert len(world.engine.adapters) == 8
    assert longest <= agent_module.ACT_S + 100


def test_a_disk_without_room_was_told_as_a_volume_that_cannot_be_read(world: World, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(sources, "_copy", full)
    world.want({"name": "b", "folder": str(world.adapter("one"))})
    world.wait()
    assert "cannot be kept below" in world.told("b")["message"]
