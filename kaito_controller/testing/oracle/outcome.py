"""What came of a scenario, and where two outcomes differ."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import field, frozen

Line = tuple[str | bool, ...]
"""One notification: added, key, version, uid, whether it is of the first list; updated, key, version, uid, the old
version and uid; deleted, key, version, uid, whether the final state is unknown."""


@frozen(kw_only=True)
class Outcome:
    """Store (key, version, uid), index, the version the store has seen, what each handler was told, and requests."""

    store: tuple[tuple[str, ...], ...]
    index: Mapping[str, tuple[str, ...]]
    version: str
    log: Mapping[str, tuple[Line, ...]]
    requests: tuple[str, ...] = ()
    problem: str = ""

    @classmethod
    def of(cls, data: Mapping[str, Any], requests: Sequence[object], *, by_key: bool) -> Outcome:
        """An outcome as a player of either side reports it.

        client-go goes through Go maps, whose order is random, for deletions that a list reveals, for what a late
        handler finds or a resync repeats, and for all that came by a stream (`by_key`): there only the order within a
        key counts.
        """
        order = _by_key if by_key else _in_order
        return cls(
            store=tuple(tuple(entry) for entry in data["store"]),
            index={value: tuple(keys) for value, keys in data["index"].items()},
            version=data["version"],
            log={name: order(tuple(tuple(line) for line in lines)) for name, lines in data["log"].items()},
            requests=tuple(str(line) for line in requests),
            problem=data.get("problem") or "",
        )

    def parts(self) -> Mapping[str, Any]:
        """What is compared one by one."""
        logs = {f"log of {handler}": lines for handler, lines in self.log.items()}
        names = ("store", "index", "version", "requests", "problem")
        return {name: getattr(self, name) for name in names} | logs


@frozen(kw_only=True)
class Difference:
    """One part in which the two sides differ."""

    scenario: str
    part: str
    theirs: Any = field(eq=False)
    ours: Any = field(eq=False)

    def __str__(self) -> str:
        return f"{self.scenario}: {self.part}\n{_shown('client-go', self.theirs)}\n{_shown('ours     ', self.ours)}"


def differences(scenario: str, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> list[Difference]:
    """Every part that differs between two outcomes by their parts; none when both sides did the same."""
    return [
        Difference(scenario=scenario, part=part, theirs=theirs.get(part, ()), ours=ours.get(part, ()))
        for part in sorted({*theirs, *ours})
        if theirs.get(part, ()) != ours.get(part, ())
    ]


def _in_order(lines: tuple[Line, ...]) -> tuple[Line, ...]:
    made: list[Line] = []
    for (_, comes_at_once), group in itertools.groupby(lines, key=lambda line: (line[0], _comes_at_once(line))):
        run = list(group)
        made += sorted(run) if comes_at_once else run
    return tuple(made)


def _comes_at_once(line: Line) -> bool:
    """Whether it is one of several that no event of its own brought: of a first list, of a relist, or of a resync."""
    return line[2:4] == line[4:6] if line[0] == "updated" else line[-1] is True


def _by_key(lines: tuple[Line, ...]) -> tuple[Line, ...]:
    return tuple(sorted(lines, key=lambda line: str(line[1])))


def _shown(side: str, value: Any) -> str:
    lines = [str(each) for each in value] if isinstance(value, tuple) else [str(value)]
    return "\n".join(f"  {side} {line}" for line in lines or ["(nothing)"])
