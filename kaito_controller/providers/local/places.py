"""Which place in the address plan a new machine takes, and whether there is one."""

from __future__ import annotations

from collections.abc import Sequence

from kaito_controller.providers.local import addresses
from kaito_controller.providers.local.machine_spec import MachineSpec


class MachineLimit(RuntimeError):  # noqa: N818 - named for what it is
    """There are as many machines as there may be: what was found, and what makes room."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(f"{message} {remedy}")
        self.message = message
        self.remedy = remedy


def free_number(others: Sequence[MachineSpec], *, for_claim: bool, limit: int | None) -> int:
    """Return the lowest number that none of `others` has.

    `limit` bounds the machines that claims asked for; the cluster's base nodes do not count. Raises `MachineLimit`.
    """
    claimed = sorted(spec.name for spec in others if spec.claim_uid)
    if for_claim and limit is not None and len(claimed) >= limit:
        names = f" ({', '.join(claimed)})" if claimed else ""
        raise MachineLimit(
            f"The local provider makes at most {limit} nodes at a time and there are {len(claimed)}{names}.",
            "Delete a Workspace that no longer needs its node, or raise --local-max-nodes.",
        )
    taken = {spec.number for spec in others}
    number = next((candidate for candidate in range(1, addresses.NODES + 1) if candidate not in taken), None)
    if number is None:
        raise MachineLimit(f"The cluster's address plan has room for {addresses.NODES} nodes.", "Delete one of them.")
    return number
