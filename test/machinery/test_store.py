"""The store: keys, indexes and what a new list changes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaito_controller.kube.core import CONFIG_MAPS
from kaito_controller.kube.metadata import Object, key, labels
from kaito_controller.machinery.event import Change, Event
from kaito_controller.machinery.store import Store
from kaito_controller.testing.transport import obj


def config_map(name: str, version: str, **more: Any) -> Object:
    made = obj(CONFIG_MAPS, name, version)
    made["metadata"] |= more
    return made


def by_colour(item: Object) -> list[str]:
    return [value for name, value in labels(item).items() if name.startswith("colour")]


def test_an_index_follows_its_objects() -> None:
    """ST2, ST3, ST4: none, one or many values; values without objects vanish; existing objects are indexed."""
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


def test_a_list_tells_deletions_first_and_leaves_out_what_is_the_same() -> None:
    """FQ2, SI8, SI10: tombstones, then updates and adds in list order; a recreated object is one update."""
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


def test_the_store_knows_how_far_it_has_seen() -> None:
    """ST5: writes, deletions and bookmarks move its version; a deletion of the unknown is no event."""
    store = Store()
    store.put(config_map("a", "5"))
    assert store.resource_version == "5"
    assert store.remove(config_map("x", "6")) is None
    assert store.resource_version == "6"
    store.advance("7")
    assert store.resource_version == "7"


NAMES = st.sampled_from("abcde")
LISTS = st.dictionaries(NAMES, st.integers(1, 4))
STEPS = st.lists(st.one_of(st.tuples(st.just("list"), LISTS), st.tuples(st.sampled_from(["put", "remove"]), NAMES)))


@given(steps=STEPS)
def test_replayed_events_equal_the_store(steps: list[tuple[str, Any]]) -> None:
    """T5: whoever applies every event to an empty dict holds what the store holds, and so does every index."""
    store = Store()
    store.add_index("version", lambda item: [item["metadata"]["resourceVersion"]])
    replay: dict[str, Object] = {}

    def apply(event: Event | None) -> None:
        if event is not None and event.change is Change.DELETED:
            del replay[key(event.object)]
        elif event is not None:
            assert (event.change is Change.UPDATED) == (key(event.object) in replay)
            replay[key(event.object)] = event.object

    for number, (what, argument) in enumerate(steps, 10):
        if what == "put":
            apply(store.put(config_map(argument, str(number))))
        elif what == "remove":
            apply(store.remove(config_map(argument, str(number))))
        else:
            for event in store.replace([config_map(n, str(v)) for n, v in argument.items()], str(number)):
                apply(event)
    assert replay == {name: store.get(name) for name in store.keys()}  # noqa: SIM118 - a store is no dict
    indexed = [key(item) for value in store.index_values("version") for item in store.by_index("version", value)]
    assert sorted(indexed) == sorted(store.keys())
