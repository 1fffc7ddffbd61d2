"""A wandb server on this machine that knows just enough to let a run begin."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Service(ThreadingHTTPServer):
    """Answers until :attr:`reachable` is false; then every request waits for ever.

    Attributes:
        asked: Name and variables of each query.
    """

    daemon_threads = True
    reachable = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, dict]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def answer(self, query: dict) -> dict:
        name, variables = query["operationName"], query["variables"]
        self.asked.append((name, variables))
        project = {"id": "cA==", "name": "p", "entity": {"id": "ZQ==", "name": "team"}}
        if name == "UpsertBucket":
            bucket = {
                "id": "aWQ=", "name": variables["name"], "displayName": "d", "config": "{}",
                "historyLineCount": 0, "project": project,
            }  # fmt: skip
            return {"upsertBucket": {"bucket": bucket, "inserted": True}}
        return {"model": {**project, "bucket": None}} if name == "RunResumeStatus" else {}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Service

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        while not self.server.reachable:
            time.sleep(0.1)
        answer = {}
        if self.path == "/graphql":
            answer = {"data": self.server.answer(json.loads(content))}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def service() -> Iterator[Service]:
    """The server, for the time of the block."""
    server = Service()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.reachable = True
        server.shutdown()
        server.server_close()
