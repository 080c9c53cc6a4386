"""A bearer token in a file that somebody else rotates: the kubelet for a Pod, a login tool for a kubeconfig."""

from __future__ import annotations

from pathlib import Path

from attrs import define, field

from kaito_controller.machinery.clock import Clock
from kaito_controller.machinery.log import logger

TOKEN_AGE_S = 50.0
"""A token is read again after a minute less ten seconds, client-go's period and leeway (RC3)."""

log = logger(__name__)


@define(kw_only=True)
class TokenFile:
    """The token of a file, read again when it is old or was refused; while that fails the last one stays in use."""

    path: Path
    clock: Clock
    _token: str = field(init=False, default="", repr=False)
    _read_at: float = field(init=False, default=0.0)
    _refused: bool = field(init=False, default=False)
    _failing: bool = field(init=False, default=False)

    def token(self) -> str:
        """The token to send now.

        Raises:
            OSError, ValueError: it cannot be read, and never could be.
        """
        age = self.clock.monotonic() - self._read_at
        if self._token and not self._refused and age < TOKEN_AGE_S:
            return self._token
        try:
            token = usable_token(self.path.read_text(), str(self.path))
        except (OSError, ValueError) as error:
            self._complain(error)
            if not self._token:
                raise
            return self._token
        self._token, self._read_at = token, self.clock.monotonic()
        self._refused = self._failing = False
        return self._token

    def drop_older_than(self, moment: float) -> None:
        """Read again before the next use, unless that was done since `moment` of the monotonic clock."""
        if self._read_at < moment:
            self._refused = True

    def _complain(self, error: Exception) -> None:
        # Every request tries again, and one line per outage is enough.
        if self._token and not self._failing:
            log.warning("the token cannot be read again; the old one stays in use", error=str(error))
        self._failing = True


def usable_token(text: str, source: str) -> str:
    """The token without the white space around it.

    Raises:
        ValueError: it is empty, or would not go into a header as it is.
    """
    token = text.strip()
    if not token:
        raise ValueError(f"{source}: must hold a token; found nothing")
    if not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError(f"{source}: a token is one word of printable ASCII; found something else")
    return token
