"""System calls that Python 3.11 has no name for: mount(2), umount2(2) and unshare(2)."""

from __future__ import annotations

import ctypes
import os

MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_BIND = 4096
MS_REC = 16384
MS_SHARED = 1 << 20

MNT_DETACH = 2

CLONE_NEWCGROUP = 0x02000000

_libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: str, kind: str = "", *, flags: int = 0, options: str = "") -> None:
    """Mount `source` on `target`; raises OSError that names both."""
    arguments = [text.encode() or None for text in (source, target, kind)]
    if _libc.mount(*arguments, ctypes.c_ulong(flags), options.encode() or None) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"mount {kind or 'bind'} {source}: {os.strerror(number)}", target)


def detach(target: str) -> None:
    """Take away the mount at `target` and those below it, now for whoever looks, later for who uses it."""
    if _libc.umount2(target.encode(), ctypes.c_int(MNT_DETACH)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"umount: {os.strerror(number)}", target)


def unshare(flags: int) -> None:
    """Leave the namespaces named by `flags` for new ones of our own; raises OSError."""
    if _libc.unshare(ctypes.c_int(flags)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"unshare: {os.strerror(number)}")
