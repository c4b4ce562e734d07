"""A web server that registers itself in Consul, and deregisters when it is told to stop. It answers with its name."""

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
LAST_REQUESTS = 5.0  # seconds after the deregistration: what is on its way is answered still


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = f"{NAME}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, *_: object) -> None:
        """Say nothing of what went well."""


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: HAProxy's check connects and goes."""


def tell_consul(path: str, body: object = None) -> None:
    data = b"" if body is None else json.dumps(body).encode()
    url = f"{os.environ['CONSUL']}/v1/agent/service/{path}"
    urllib.request.urlopen(urllib.request.Request(url, data, method="PUT"), timeout=5).close()  # noqa: S310


def register() -> bool:
    """Return whether it is registered: Consul may not be up yet when it is told to stop."""
    check = {"HTTP": f"http://{ADDRESS}:{PORT}/", "Interval": "2s", "Timeout": "1s", "Status": "passing"}
    # One that was killed goes, too, if not at once.
    check["DeregisterCriticalServiceAfter"] = "1m"
    service = {"Name": "web", "ID": NAME, "Address": ADDRESS, "Port": PORT, "Check": check}
    while True:
        try:
            tell_consul("register", service)
            return True
        except OSError:
            if signal.sigtimedwait(STOP, 0.5):
                return False


# Before any thread starts: it waits for sigwait, while signal.pause() can miss one that comes just before it.
signal.pthread_sigmask(signal.SIG_BLOCK, STOP)
server = Server(("", PORT), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
if register():
    signal.sigwait(STOP)
    try:
        tell_consul(f"deregister/{NAME}")
    finally:
        time.sleep(LAST_REQUESTS)
