"""A fake API server: one core without sockets, in virtual time, and two skins to reach it by."""
