"""A W&B endpoint that behaves: it keeps one run's rows and configuration, and can be told to hang or to fail."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Endpoint:
    def __init__(self) -> None:
        self.url = ""
        self.mood = "answers"
        self.rows: list[dict[str, Any]] = []
        self.names: set[str] = set()
        self.config: dict[str, Any] = {}
        self.received = b""
        self.released = threading.Event()

    def answer(self, path: str, body: bytes) -> dict[str, Any]:
        self.received += body
        if path.endswith("/file_stream"):
            self.keep(json.loads(body).get("files", {}).get("wandb-history.jsonl"))
        if path != "/graphql":
            return {}
        question = json.loads(body)
        return {"data": self.data(question["query"], question.get("variables") or {})}

    def keep(self, chunk: dict[str, Any] | None) -> None:
        if chunk:
            self.rows[chunk["offset"] :] = [json.loads(line) for line in chunk["content"]]

    def data(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        project = {"id": "p", "name": "demo", "entity": {"id": "e", "name": "me"}}
        if "viewer" in query:
            return {"viewer": {"id": "v", "entity": "me", "username": "me", "email": "", "flags": "{}", "teams": {"edges": []}}}
        if "upsertBucket" in query:
            self.names.add(variables["name"])
            self.config |= json.loads(variables["config"] or "{}")
            bucket = {
                "id": "b",
                "name": variables["name"],
                "config": "{}",
                "project": project,
                "historyLineCount": len(self.rows),
            }
            return {"upsertBucket": {"bucket": bucket, "inserted": True}}
        if "createRunFiles" in query:
            files = [{"name": name, "uploadUrl": f"{self.url}/upload/{name}"} for name in variables["files"]]
            return {"createRunFiles": {"runID": "b", "uploadHeaders": [], "files": files}}
        if "RunResumeStatus" in query and self.names:
            return {"model": project | {"bucket": self.known(variables["name"])}}
        return {}

    def known(self, name: str) -> dict[str, Any]:
        tail = json.dumps([json.dumps(row) for row in self.rows[-1:]])
        counts = {"historyLineCount": len(self.rows), "logLineCount": 0, "eventsLineCount": 0}
        empty = {"summaryMetrics": "{}", "config": "{}", "wandbConfig": '{"t": 1}', "eventsTail": "[]", "tags": [], "notes": ""}
        return {"id": "b", "name": name, "displayName": name, "historyTail": tail} | counts | empty


@contextmanager
def serving() -> Iterator[Endpoint]:
    endpoint = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def respond(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            mood = endpoint.mood
            if mood == "hangs":
                endpoint.released.wait()
            text = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
            answer = json.dumps(endpoint.answer(self.path, text)).encode() if mood == "answers" else b"{}"
            self.send_response(200 if mood == "answers" else 500)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_PUT = respond  # noqa: N815

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except OSError:  # whoever asked has been killed
                self.close_connection = True

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    endpoint.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield endpoint
    finally:
        endpoint.released.set()
        server.shutdown()
        thread.join()
        server.server_close()
