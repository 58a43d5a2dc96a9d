"""Beside what people use today: the same records, the same core for the server and the same for the application."""

from __future__ import annotations

import traceback

from ..run import Run
from ..table import markdown
from . import keyed, nginx, om
from .contender import HEAD, Figures


def beside(run: Run) -> str:
    """A line each for Podium and what an application would use in its place."""
    lines = [measured(run, which).cells() for which in (keyed.Podium, keyed.CacheAside, om.RedisOm, nginx.Nginx)]
    return markdown(HEAD, lines)


def measured(run: Run, which) -> Figures:
    """The figures of one of them; what cannot be had here says so in its line."""
    if why := which.lacks():
        return Figures(which.name, lacks=why)
    one = None
    try:
        one = which(run)
        return one.figures()
    except Exception as error:  # noqa: BLE001
        # The others are measured all the same.
        traceback.print_exc()
        return Figures(which.name, lacks=f"failed: {type(error).__name__}")
    finally:
        if one is not None:
            one.close()
