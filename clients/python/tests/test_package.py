"""The package as such: what importing it costs, what it needs, that it is typed."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True, timeout=60).stdout


def test_importing_it_is_quick_and_loads_nothing_that_is_not_needed():
    """Seconds of the processor, the best of some, for the machine may be busy."""
    code = """
        import json, sys, time
        began = time.process_time()
        import podium
        took = time.process_time() - began
        print(json.dumps([took, sorted({name.partition(".")[0] for name in sys.modules})]))
    """
    runs = [json.loads(python(code)) for _ in range(5)]
    assert min(took for took, _ in runs) < 0.150
    assert not set(runs[0][1]) & {"asyncio", "redis", "fastapi", "starlette", "flask", "werkzeug", "pytest", "httpx"}


def test_it_works_where_only_redis_py_is_installed():
    assert python("""
        import sys
        sys.modules["valkey"] = None
        import podium
        cache = podium.Podium.connect("redis://127.0.0.1:1")
        print(type(cache._runner.client).__module__.split(".")[0], cache.cached("page", key="a")(lambda: 1)())
    """).split() == ["redis", "1"]  # fmt: skip


def test_a_users_program_is_typed(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent("""
        from pydantic import BaseModel
        from podium import AsyncPodium, Podium

        class Event(BaseModel):
            id: str
            name: str

        class PrivateEvent(Event):
            secret: str

        cache = Podium.connect("valkey://127.0.0.1", local=100, retry_after=2)
        events = cache.entity("events", PrivateEvent, views={"public": Event}, default_view="public", indexed=["name"])
        whole = cache.entity("whole", PrivateEvent)

        reveal_type(events.get("rec1"))
        reveal_type(events.get("rec1", model=PrivateEvent))
        reveal_type(whole.get("rec1", max_age=5))
        reveal_type(events.get_many(["rec1"]))
        reveal_type(events.by_index(name="x", sort=("name", "desc"), limit=3))
        reveal_type(events.all(model=PrivateEvent, limit=3))
        reveal_type(events.count(name="x"))

        @cache.cached("page", ttl=5)
        def page(id: str, n: int = 0) -> list[Event]:
            return []

        reveal_type(page("x"))
        page(5)

        async def main() -> None:
            other = AsyncPodium.connect()
            reveal_type(await other.entity("events", Event).get("rec1"))
            reveal_type(await other.invalidate("events", "rec1", related=["tag:x", ("events", "rec2")]))
        """)
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", str(program)], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    shown = [line.split('"')[1] for line in done.stdout.splitlines() if "Revealed type" in line]
    assert [text.replace("program.", "").replace("builtins.", "") for text in shown] == [
        "Event | None",
        "PrivateEvent | None",
        "PrivateEvent | None",
        "list[Event | None]",
        "list[Event]",
        "list[PrivateEvent]",
        "int",
        "list[Event]",
        "Event | None",
        "int",
    ], done.stdout
    errors = [line for line in done.stdout.splitlines() if ": error:" in line]
    assert len(errors) == 1 and 'Argument 1 to "page" has incompatible type "int"; expected "str"' in errors[0], done.stdout


def test_the_package_is_typed_and_clean():
    for command in (["mypy"], ["ruff", "check", "."], ["ruff", "format", "--check", "."]):
        done = subprocess.run([sys.executable, "-m", *command], cwd=PACKAGE, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
