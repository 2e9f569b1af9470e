"""The gateway's side of a controller, in the test's own process: publishes what it is told."""

import http.server
import json
import threading


class ScriptedController(http.server.ThreadingHTTPServer):
    """The gateway's side of a controller: manifest with ETag and long poll, blobs, feedback."""

    daemon_threads = True

    def __init__(self, blobs):
        super().__init__(("127.0.0.1", 0), _ControllerHandler)
        self.blobs = blobs
        self.manifest = b""
        self.version = 0
        self.changed = threading.Condition()
        self.feedback = {}
        self.seen = []
        self.corrupt = set()
        self.down = False
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def stop(self):
        """No answer to anybody any more, on connections old or new."""
        self.down = True
        self.shutdown()
        self.server_close()

    def handle_error(self, *_):
        pass  # a worker that was killed in mid-poll

    def publish(self, content):
        with self.changed:
            self.manifest = content
            self.version += 1
            self.changed.notify_all()


class _ControllerHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def _answer(self, status, content=b"", etag=""):
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        if etag:
            self.send_header("etag", etag)
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self):
        server = self.server
        if server.down:
            self.close_connection = True
            return
        server.seen.append((self.path, dict(self.headers)))
        if self.headers["authorization"] != "Bearer gateway-token":
            self._answer(401)
        elif self.path.startswith("/v1/gateway/table"):
            wait = float(self.path.partition("wait=")[2])
            known = self.headers.get("if-none-match", "")
            with server.changed:
                server.changed.wait_for(
                    lambda: server.version and f'"{server.version}"' != known, timeout=wait
                )
                etag = f'"{server.version}"'
                if not server.version or etag == known:
                    self._answer(304)
                else:
                    self._answer(200, server.manifest, etag)
        elif self.path.startswith("/v1/gateway/blobs/"):
            name = self.path.rpartition("/")[2]
            content = server.blobs.read(name)
            self._answer(200, content[:-1] + b"?" if name in server.corrupt else content)
        else:
            found = server.feedback.get(self.path.partition("?")[0].rpartition("/")[2])
            self._answer(404) if found is None else self._answer(200, json.dumps(found).encode())
