"""nginx in front of Airtable, answers cached by their address."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import tempfile
import time
import urllib.parse
from pathlib import Path

from airtable import TOKEN
from support import free_port

from .. import model
from ..figures import grouped
from ..load import SERVER_CORE, core
from .contender import Contender, Project, shaped

CONFIG = """
{user}
worker_processes 1;
daemon off;
pid {dir}/pid;
error_log {dir}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  keepalive_requests 100000000;
  client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi; uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
  proxy_cache_path {dir}/cache levels=1:2 keys_zone=airtable:64m inactive=8h max_size=4g use_temp_path=off;
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass {upstream};
      proxy_cache airtable;
      proxy_cache_key $request_uri;
      proxy_cache_valid 200 8h;
      proxy_cache_lock on;
      proxy_ignore_headers Cache-Control Expires Set-Cookie Vary;
    }}
  }}
}}
"""


class Nginx(Contender):
    name = "nginx proxy_cache, http.client"
    told = "when its lifetime ends"

    @classmethod
    def lacks(cls) -> str:
        return "" if os.environ.get("NGINX") else "nginx is not to be had here"

    def __init__(self, run):
        super().__init__(run)
        self.dir = tempfile.TemporaryDirectory(prefix="podium-bench-")
        self.port = free_port()
        config = Path(self.dir.name) / "nginx.conf"
        config.write_text(CONFIG.format(dir=self.dir.name, port=self.port, upstream=self.airtable.url, user="user root;" if os.geteuid() == 0 else ""))
        with core(SERVER_CORE), open(Path(self.dir.name) / "log", "wb") as log:
            self.process = subprocess.Popen([os.environ["NGINX"], "-p", self.dir.name, "-c", str(config), "-e", f"{self.dir.name}/error.log"],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.headers = {"Authorization": f"Bearer {TOKEN}"}
        self.link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        for _ in range(200):
            try:
                self.link.connect()
                return
            except OSError:
                assert self.process.poll() is None, (Path(self.dir.name) / "log").read_text() + (Path(self.dir.name) / "error.log").read_text()
                time.sleep(0.02)
        raise AssertionError("nginx does not listen")

    def ask(self, path: str) -> bytes:
        self.link.request("GET", path, headers=self.headers)
        with self.link.getresponse() as answer:
            body = answer.read()
        assert answer.status == 200, body[:300]
        return body

    def path(self, id: str) -> str:
        return f"/v0/{model.FULL}/projects/{id}"

    def get(self, id: str) -> Project:
        return shaped(json.loads(self.ask(self.path(id))))

    def twenty(self, event: str) -> list[Project]:
        formula = urllib.parse.quote(f"event='{event}'")
        return [shaped(one) for one in json.loads(self.ask(f"/v0/{model.FULL}/projects?filterByFormula={formula}"))["records"]]

    def raw(self):
        head = f"Host: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
        return self.port, [f"GET {self.path(model.rid(n))} HTTP/1.1\r\n{head}".encode() for n in range(self.count)]

    def pid(self) -> int:
        """Its only worker: a child of the process that was started, beside the cache's manager and loader."""
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                words = stat.read_text().rpartition(")")[2].split()
                if int(words[1]) == self.process.pid and b"worker" in (stat.parent / "cmdline").read_bytes():
                    return int(stat.parent.name)
            except OSError:
                continue
        raise AssertionError("nginx has no worker")

    def bytes_each(self) -> str:
        files = [path.stat() for path in (Path(self.dir.name) / "cache").rglob("*") if path.is_file()]
        # The questions about indexes are answers too: each is asked once, when the records are counted.
        for n in range(0, self.count, model.GROUP):
            self.twenty(model.event(n))
        return f"{grouped(sum(one.st_size for one in files) / len(files))} on disk ({grouped(sum(one.st_blocks * 512 for one in files) / len(files))} with its blocks)"

    def fill(self) -> None:
        for n in range(self.count):
            self.ask(self.path(model.rid(n)))

    def close(self) -> None:
        self.link.close()
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(5)
        self.dir.cleanup()
