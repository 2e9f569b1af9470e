"""A rollout's world with alerts: what is looked at is the product's own, and who hears of it is a
real server on a real socket."""

import base64
import hashlib
import hmac
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
from tests.controller.rollout_world import FILE, NAME, SECOND, World

from pointsman.alerts.of_serving import Behind
from pointsman.controller.alerting import Alerting, Links
from pointsman.controller.delivering import Deliveries
from pointsman.controller.lookout import Lookout, Machinery
from pointsman.controller.rollcall import ProjectReport, RollCall, VariantReport, WorkerReport
from pointsman.plugins.alert_webhook import WebhookReceiver
from pointsman.store import alerts
from pointsman.store.database import reader

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
RECEIVER = "oncall"


class Receiver:
    """A real server that checks each signature by itself, keeps what it was sent, and answers as it
    is told."""

    def __init__(self) -> None:
        self.status = 204
        self.seen: list[tuple[dict[str, str], bytes]] = []
        self.forged: list[dict[str, str]] = []
        self.paths: list[str] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.paths.append(self.path)
                receiver.seen.append((headers, body))
                if "webhook-id" in headers and not genuine(headers, body):
                    receiver.forged.append(headers)
                self.send_response(receiver.status)
                self.send_header("location", "http://127.0.0.1:1/elsewhere")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def bodies(self) -> list[Any]:
        return [json.loads(body) for _, body in self.seen]

    @property
    def ids(self) -> list[str]:
        return [headers["webhook-id"] for headers, _ in self.seen]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def genuine(headers: dict[str, str], body: bytes) -> bool:
    """As the Standard Webhooks specification says it is verified; none of the product's code."""
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    given = [one.partition(",") for one in headers.get("webhook-signature", "").split()]
    return any(v == "v1" and hmac.compare_digest(s, expected) for v, _, s in given)


class Alarmed(World):
    """failing, registries: what the installation's own parts say of themselves"""

    def __init__(self, root: Any, text: str = FILE) -> None:
        super().__init__(root, text)
        self.receiver = Receiver()
        self.failing: dict[str, str] = {}
        self.registries: dict[str, str] = {}
        self.unreadable: dict[str, str] = {}
        self.links = Links("https://pointsman.example.com")
        self.begun_ms = self.clock.ms
        self.alerting, self.deliveries = self.alerts()

    def close(self) -> None:
        self.receiver.close()
        super().close()

    def alerts(self) -> tuple[Alerting, Deliveries]:
        """What looks and what sends, as after a restart, or beside the first ones."""
        where = WebhookReceiver(
            RECEIVER, lambda: self.receiver.url, lambda: SECRET, self.clock, plain=False
        )
        machinery = Machinery(self._behind, lambda: self.failing, lambda: self.registries)
        workers = RollCall(self.reports)
        lookout = Lookout(self.ledger, self.rollouts._watch, workers, machinery)
        alerting = Alerting(self.ledger, lookout, [RECEIVER], self.links)
        return alerting, Deliveries(self.ledger, {RECEIVER: where}, self.links)

    def _behind(self) -> Behind:
        return Behind(self._caught_up(), self.begun_ms, self.unreadable)

    def serve(self, *, refused: str = "") -> None:
        """As a worker reports it, its table's digest included."""
        variants = {v.name: VariantReport("warm") for v in self.table.variants}
        if refused:
            variants["challenger"] = VariantReport("refused", refused)
        revision = self.projects.current(NAME)
        project = ProjectReport(revision.table_digest, revision.number, variants)
        report = WorkerReport(0, os.getpid(), 1, {NAME: project})
        (self.reports / "0.json").write_bytes(msgspec.json.encode(report))

    def send(self) -> None:
        while self.deliveries.turn(RECEIVER):
            pass

    def watch(self, milliseconds: int, every: int = 4 * SECOND) -> None:
        """Lets time pass, with looks and deliveries."""
        for _ in range(milliseconds // every):
            self.pass_time(every)
            self.alerting.look()
            self.send()

    def open(self) -> list[str]:
        with reader(self.engine).connect() as connection:
            return [one.condition.kind.value for one in alerts.firing(connection)]

    def heard(self) -> list[tuple[str, str]]:
        """(event, kind) of everything the receiver was sent, in order."""
        return [
            (alert["event"], alert["kind"])
            for body in self.receiver.bodies
            for alert in body["alerts"]
        ]
