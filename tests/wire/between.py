"""Something between Podium and the emulator that changes what Airtable answers to reads."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.parse
import urllib.request
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def between(url: str, change):
    """The URL of a proxy to the emulator at `url`. `change(path, ask)` is called for every GET with the unquoted path and
    query; it returns the body to answer with (bytes as they are), or None for what the emulator says. `ask()` asks the emulator: its body, with
    `without` left out of the query (an offset that the proxy made up, say)."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def forward(self, target, body=None):
            headers = {k: v for k, v in self.headers.items() if k.lower() in ("authorization", "content-type")}
            request = urllib.request.Request(url + target, data=body, method=self.command, headers=headers)
            try:
                with urllib.request.urlopen(request, timeout=20) as answer:
                    return answer.status, answer.read()
            except urllib.error.HTTPError as error:
                return error.code, error.read()

        def answer(self):
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length) if length else None
            made = None
            if self.command == "GET":
                def ask(without=None):
                    path, _, query = self.path.partition("?")
                    kept = [(k, v) for k, v in urllib.parse.parse_qsl(query, keep_blank_values=True) if v != without]
                    return json.loads(self.forward(f"{path}?{urllib.parse.urlencode(kept)}")[1])
                made = change(urllib.parse.unquote_plus(self.path), ask)
            made = made if made is None or isinstance(made, bytes) else json.dumps(made).encode()
            status, body = (200, made) if made is not None else self.forward(self.path, body)
            self.send_response(status)
            self.send_header("Content-Type", "application/json; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = answer

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


MADE_UP = "itrMADEUPMADEUPMA/recMADEUPMADEUPMA"


def halves(path, ask):
    """A page of records asked for by id that holds half of them and promises more."""
    if "RECORD_ID" not in path:
        return None
    page = ask(without=MADE_UP)
    records = page["records"]
    half = (len(records) + 1) // 2
    if MADE_UP in path:
        return {"records": records[half:]}
    return {"records": records[:half], "offset": MADE_UP} if half < len(records) else page
