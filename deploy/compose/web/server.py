"""A web server that registers itself in Consul, deregisters on SIGTERM, and answers with its name."""

import json
import os
import signal
import socket
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT = 8080
NAME = socket.gethostname()
ADDRESS = socket.gethostbyname(NAME)
STOP = {signal.SIGTERM}
LAST_REQUESTS = 5.0  # seconds after the deregistration, to answer requests in flight


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = f"{NAME}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, *_: object) -> None:
        """Do not log successful requests."""


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Do not log: HAProxy's check connects and closes."""


def put(path: str, body: object = None) -> None:
    data = b"" if body is None else json.dumps(body).encode()
    url = f"{os.environ['CONSUL']}/v1/agent/service/{path}"
    urllib.request.urlopen(urllib.request.Request(url, data, method="PUT"), timeout=5).close()  # noqa: S310


def register() -> bool:
    """Register, retrying until Consul is up; return False if SIGTERM arrives first."""
    check = {"HTTP": f"http://{ADDRESS}:{PORT}/", "Interval": "2s", "Timeout": "1s", "Status": "passing"}
    # Removes a server that was killed, after a while.
    check["DeregisterCriticalServiceAfter"] = "1m"
    service = {"Name": "web", "ID": NAME, "Address": ADDRESS, "Port": PORT, "Check": check}
    while True:
        try:
            put("register", service)
            return True
        except OSError:
            if signal.sigtimedwait(STOP, 0.5):
                return False


# Block the signal before any thread starts; then sigwait cannot miss it, as signal.pause() can.
signal.pthread_sigmask(signal.SIG_BLOCK, STOP)
server = Server(("", PORT), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
if register():
    signal.sigwait(STOP)
    try:
        put(f"deregister/{NAME}")
    finally:
        time.sleep(LAST_REQUESTS)
