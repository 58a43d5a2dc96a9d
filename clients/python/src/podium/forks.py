"""After a fork (a server that loads the application before it makes its workers) the child has none of the parent's threads, and
perhaps a lock that one of them held: what depends on them begins anew there."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Forked(Protocol):
    def after_fork(self) -> None: ...


_all: weakref.WeakSet[Forked] = weakref.WeakSet()


def register(one: Forked) -> None:
    """`after_fork` is called in each child."""
    _all.add(one)


def _in_child() -> None:
    for one in list(_all):
        one.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
