"""The store: keys, indexes and what a new list changes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from kaito_controller.kube.core import CONFIG_MAPS, NODES
from kaito_controller.kube.metadata import Object, key, labels, resource_version, split_key
from kaito_controller.machinery.cache.event import Change, Event
from kaito_controller.machinery.cache.store import Store
from kaito_controller.testing.transport import obj


def config_map(name: str, version: str, **more: Any) -> Object:
    made = obj(CONFIG_MAPS, name, version)
    made["metadata"] |= more
    return made


def by_colour(item: Object) -> list[str]:
    return [value for name, value in labels(item).items() if name.startswith("colour")]


@pytest.mark.scenario("ST1")
def test_keys() -> None:
    """Namespace and name with a slash between, or the name alone; more than one slash is no key."""
    store = Store()
    store.put(config_map("a", "1"))
    store.put(obj(NODES, "n", "2", namespace=""))
    assert list(store.keys()) == ["default/a", "n"]
    assert split_key("default/a") == ("default", "a")
    assert split_key("n") == ("", "n")
    with pytest.raises(ValueError, match="more than one slash"):
        split_key("a/b/c")


@pytest.mark.scenario("ST2", "ST3", "ST4")
def test_an_index_follows_its_objects() -> None:
    """None, one or many values; values without objects vanish; existing objects are indexed; names are checked."""
    store = Store()
    store.put(config_map("a", "1", labels={"colour": "red", "colour2": "blue"}))
    store.put(config_map("b", "2"))
    store.add_index("colour", by_colour)
    assert [key(item) for item in store.by_index("colour", "blue")] == ["default/a"]
    store.put(config_map("a", "3", labels={"colour": "green"}))
    assert list(store.index_values("colour")) == ["green"]
    store.remove(config_map("a", "4"))
    assert list(store.index_values("colour")) == []
    with pytest.raises(ValueError, match="taken"):
        store.add_index("colour", lambda _: ())
    with pytest.raises(LookupError, match="unknown"):
        store.by_index("size", "1")


@pytest.mark.scenario("ST2")
def test_an_index_asks_its_function_once_per_change_and_keeps_places() -> None:
    """The function is asked of the new state only; an unchanged value leaves the object where it stands."""
    asked: list[str] = []

    def colour(item: Object) -> list[str]:
        asked.append(resource_version(item))
        return by_colour(item)

    store = Store()
    store.add_index("colour", colour)
    for name, version in (("a", "1"), ("b", "2"), ("a", "3")):
        store.put(config_map(name, version, labels={"colour": "red"}))
    store.remove(config_map("b", "4"))
    assert asked == ["1", "2", "3"]
    assert [resource_version(item) for item in store.by_index("colour", "red")] == ["3"]


@pytest.mark.scenario("ST3")
def test_indexes_come_all_or_none() -> None:
    """One taken name refuses the whole set; the same function under its own name is no conflict."""
    store = Store()
    store.put(config_map("a", "1", labels={"colour": "red"}))
    store.add_index("colour", by_colour)
    store.add_index("colour", by_colour)
    with pytest.raises(ValueError, match="'colour': the name is taken"):
        store.add_indexes({"fresh": by_colour, "colour": lambda _: ()})
    assert set(store.indexes) == {"colour"}
    store.add_indexes({"colour": by_colour, "fresh": by_colour})
    assert list(store.index_values("fresh")) == ["red"]
    for lookup in (store.by_index, store.index_keys):
        with pytest.raises(LookupError, match="'size': unknown; this store has"):
            lookup("size", "1")
    with pytest.raises(LookupError):
        store.index_values("size")
    with pytest.raises(LookupError):
        store.sharing("size", config_map("a", "1"))


@pytest.mark.scenario("ST3")
def test_an_index_function_that_fails_on_an_object_hides_that_object_alone() -> None:
    """It is kept and told of, under no value of that index; other objects and indexes do not notice.

    client-go ends the process; the content that the function fails on may be anybody's.
    """
    told: list[tuple[str, str, str]] = []
    store = Store(lambda item, index, error: told.append((key(item), index, repr(error))))
    store.put(config_map("odd", "1", labels="red"))
    store.add_indexes({"colour": by_colour, "name": lambda item: [item["metadata"]["name"]]})
    store.put(config_map("a", "2", labels={"colour": "red"}))
    assert [key(item) for item in store.by_index("colour", "red")] == ["default/a"]
    assert [key(item) for item in store.by_index("name", "odd")] == ["default/odd"]
    store.put(config_map("a", "3", labels=["colour"]))
    assert (len(store), list(store.index_values("colour"))) == (2, [])
    assert [one[:2] for one in told] == [("default/odd", "colour"), ("default/a", "colour")]
    store.put(config_map("a", "4", labels={"colour": "blue"}))
    assert list(store.index_values("colour")) == ["blue"]


@pytest.mark.scenario("ST4")
def test_lookups_are_unions_without_doubles() -> None:
    """By object, by several values, by keys sorted, and the values in use."""
    store = Store()
    store.add_index("colour", by_colour)
    for name, colours in (("c", "rg"), ("a", "r"), ("b", "gb"), ("x", "")):
        found = {f"colour{number}": colour for number, colour in enumerate(colours)}
        store.put(config_map(name, "1", labels=found))
    sample = config_map("not-here", "1", labels={"colour": "r", "colour2": "g"})
    assert [key(item) for item in store.sharing("colour", sample)] == ["default/c", "default/a", "default/b"]
    assert [key(item) for item in store.by_index("colour", "g", "r", "none")] == ["default/c", "default/b", "default/a"]
    assert store.index_keys("colour", "r", "g") == ["default/a", "default/b", "default/c"]
    assert store.index_keys("colour", "r") == ["default/a", "default/c"]
    assert sorted(store.index_values("colour")) == ["b", "g", "r"]
    assert store.sharing("colour", config_map("x", "1")) == []


@pytest.mark.scenario("FQ2", "SI8", "SI10")
def test_a_list_tells_deletions_first_and_leaves_out_what_is_the_same() -> None:
    """Tombstones, then updates and adds in list order; a recreated object is one update."""
    store = Store()
    for name, version in (("a", "1"), ("b", "2"), ("c", "3")):
        store.put(config_map(name, version))
    recreated = config_map("c", "8", uid="another")
    events = store.replace([config_map("d", "7"), config_map("b", "2"), recreated], "9")
    told = [(event.change, key(event.object), event.final_state_unknown) for event in events]
    assert told == [
        (Change.DELETED, "default/a", True),
        (Change.ADDED, "default/d", False),
        (Change.UPDATED, "default/c", False),
    ]
    assert store.resource_version == "9"
    [restored] = store.replace([config_map("d", "7"), config_map("b", "2", uid="restored"), recreated], "10")
    assert (restored.change, restored.old) == (Change.UPDATED, config_map("b", "2")), "versions may come again"


@pytest.mark.scenario("ST5")
def test_the_store_knows_how_far_it_has_seen() -> None:
    """Writes, deletions, bookmarks and lists move its version; a deletion of the unknown is no event."""
    store = Store()
    assert store.resource_version == ""
    store.put(config_map("a", "5"))
    assert store.resource_version == "5"
    assert store.remove(config_map("x", "6")) is None
    assert store.resource_version == "6"
    store.advance("7")
    assert store.resource_version == "7"
    store.remove(config_map("a", "8"))
    assert store.resource_version == "8"
    store.replace([config_map("b", "3")], "9")
    assert store.resource_version == "9"
    store.advance("")
    assert store.resource_version == "9"


NAMES = st.sampled_from("abcde")
COLOURS = st.lists(st.sampled_from(["red", "green", "blue"]), max_size=3)


def coloured(name: str, version: int, colours: Iterable[str]) -> Object:
    return config_map(name, str(version), labels={f"colour{number}": one for number, one in enumerate(colours)})


class StoreMachine(RuleBasedStateMachine):
    """A store against plain dicts: its content, every lookup, and a replay of what it told."""

    def __init__(self) -> None:
        super().__init__()
        self.store = Store()
        self.model: dict[str, Object] = {}
        self.replay: dict[str, Object] = {}
        self.version = 10
        self.has_index = False

    def told(self, event: Event | None) -> None:
        """Apply an event as somebody does who has nothing else."""
        if event is None:
            return
        if event.change is Change.DELETED:
            del self.replay[event.key]
            return
        assert (event.change is Change.UPDATED) == (event.key in self.replay)
        assert event.old is self.replay.get(event.key)
        self.replay[event.key] = event.object

    @rule(name=NAMES, colours=COLOURS)
    def put(self, name: str, colours: list[str]) -> None:
        """An object comes or changes."""
        self.version += 1
        item = coloured(name, self.version, colours)
        self.model[key(item)] = item
        self.told(self.store.put(item))

    @rule(name=NAMES, is_last_state_known=st.booleans())
    def remove(self, name: str, is_last_state_known: bool) -> None:
        """An object goes, with its last state or without."""
        self.version += 1
        item = config_map(name, str(self.version))
        self.model.pop(key(item), None)
        if is_last_state_known:
            self.told(self.store.remove(item))
        else:
            self.told(self.store.forget(key(item), str(self.version)))

    @rule(listed=st.dictionaries(NAMES, COLOURS), same=st.sets(NAMES))
    def replace(self, listed: dict[str, list[str]], same: set[str]) -> None:
        """A list: some objects as they were, some new, the rest gone."""
        self.version += 1
        items = [coloured(name, self.version, colours) for name, colours in listed.items() if name not in same]
        items += [dict(self.model[f"default/{name}"]) for name in same if f"default/{name}" in self.model]
        self.model = {key(item): item for item in items}
        for event in self.store.replace(items, str(self.version)):
            self.told(event)

    @rule()
    def bookmark(self) -> None:
        """Nothing happened."""
        self.version += 1
        self.store.advance(str(self.version))

    @rule()
    def index(self) -> None:
        """The index comes, at any time."""
        self.store.add_index("colour", by_colour)
        self.has_index = True

    @invariant()
    def content_is_that_of_the_model(self) -> None:
        """Objects, keys, length and version."""
        assert {found: self.store.get(found) for found in self.store.keys()} == self.model  # noqa: SIM118 - a store is no dict
        assert len(self.store) == len(self.model)
        assert all(found in self.store for found in self.model)
        if self.version > 10:
            assert self.store.resource_version == str(self.version)

    @invariant()
    def what_was_told_is_what_there_is(self) -> None:
        """The replay of all events into an empty dict is the store."""
        assert self.replay == self.model

    @invariant()
    def every_lookup_is_a_scan(self) -> None:
        """The index finds what looking at each object finds, and has no value without one."""
        if not self.has_index:
            return
        wanted: dict[str, set[str]] = {}
        for found, item in self.model.items():
            for colour in by_colour(item):
                wanted.setdefault(colour, set()).add(found)
        assert set(self.store.index_values("colour")) == set(wanted)
        for colour in ("red", "green", "blue"):
            assert set(self.store.index_keys("colour", colour)) == wanted.get(colour, set())
        both = wanted.get("red", set()) | wanted.get("blue", set())
        assert sorted(key(item) for item in self.store.by_index("colour", "red", "blue")) == sorted(both)


StoreMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestStore = pytest.mark.scenario("ST2", "ST4", "ST5", "FQ2")(StoreMachine.TestCase)
