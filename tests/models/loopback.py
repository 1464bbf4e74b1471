"""A loopback HTTP server for tests of remote providers."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Server:
    """Answers each request by `reply`; keeps its own receipts."""

    def __init__(self) -> None:
        self.reply: Callable[[BaseHTTPRequestHandler], None] = lambda handler: None
        self.receipts: list[dict[str, Any]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                outer.receipts.append(
                    {"path": self.path, "body": json.loads(body), "headers": headers}
                )
                outer.reply(self)

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.root = f"http://127.0.0.1:{self._server.server_port}"
        self.url = f"{self.root}/v1"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def send(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
        def reply(handler: BaseHTTPRequestHandler) -> None:
            raw = value if isinstance(value, bytes) else json.dumps(value).encode()
            handler.send_response(status)
            for name, text in {"Content-Type": "application/json", **(headers or {})}.items():
                handler.send_header(name, text)
            handler.send_header("Content-Length", str(len(raw)))
            handler.end_headers()
            handler.wfile.write(raw)

        self.reply = reply

    def speak(self, answer: Callable[[dict[str, Any]], tuple[int, Any]]) -> None:
        """Answer each request by a function of its receipt: a status and a JSON value."""

        def reply(handler: BaseHTTPRequestHandler) -> None:
            status, value = answer(self.receipts[-1])
            raw = json.dumps(value).encode()
            handler.send_response(status)
            handler.send_header("Content-Type", "application/json")
            handler.send_header("Content-Length", str(len(raw)))
            handler.end_headers()
            handler.wfile.write(raw)

        self.reply = reply
