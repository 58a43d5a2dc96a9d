"""The fixtures that an application's tests use, by a test suite of an application."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from support import MODULE, SERVERS

SUITE = """
import asyncio
import pytest
from pydantic import BaseModel
from podium import errors

pytest_plugins = ["podium.testing"]
ID = "rec00000000000001"


class Event(BaseModel):
    id: str
    name: str


@pytest.mark.parametrize("round", [1, 2])
def test_each_test_begins_with_nothing(podium_cache, round):
    assert podium_cache.execute("PODIUM.SPEC", "LIST") == []
    assert podium_cache.execute("DBSIZE") == 0
    events = podium_cache.entity("events", Event)
    events.upsert(ID, {"name": "Lisbon"})
    assert events.get(ID).name == "Lisbon"
    page = podium_cache.cached("page", key="a")(lambda: round)
    assert page() == page() == round
    with pytest.raises(errors.UpstreamError):
        events.get("rec00000000000002")


def test_with_await(podium_async_cache):
    async def scene():
        events = podium_async_cache.entity("events", Event)
        await events.upsert(ID, {"name": "Porto"})
        assert (await events.get(ID)).name == "Porto"
        await podium_async_cache.close()

    asyncio.run(scene())
"""


def run(tmp_path, **environment):
    (tmp_path / "test_application.py").write_text(SUITE)
    kept = {name: value for name, value in os.environ.items() if name not in ("PODIUM_MODULE", "VALKEY_SERVER", "PODIUM_AIRTABLE_URL")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    return subprocess.run(command, cwd=tmp_path, env={**kept, **environment}, capture_output=True, text=True, timeout=60)


def test_an_applications_tests(tmp_path, version):
    done = run(tmp_path, PODIUM_MODULE=str(MODULE), VALKEY_SERVER=str(SERVERS[version]))
    assert done.returncode == 0 and "3 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("lacking", ["PODIUM_MODULE", "VALKEY_SERVER"])
def test_what_lacks_is_named(tmp_path, lacking):
    given = {"PODIUM_MODULE": str(MODULE), "VALKEY_SERVER": str(SERVERS["9.1"]), lacking: "/nowhere"}
    assert lacking in run(tmp_path, **given).stdout
