"""A real Prometheus and a real Alertmanager, with the configuration that users get but for its
times and addresses; and the machine that alerts are sent to."""

import http.server
import json
import re
import threading
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import yaml
from tests.end_to_end.serving import ROOT
from tests.monitoring.tools import program

from pointsman.demo.processes import Process, Processes, answers, free_port

DEPLOY: Final = ROOT / "deploy"
START_S: Final = 60.0


class Heard(http.server.ThreadingHTTPServer):
    """A webhook: keeps what it is sent."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Listening)
        self.messages: list[tuple[str, dict[str, Any]]] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    def alerts(self, name: str, status: str = "firing") -> list[tuple[str, dict[str, Any]]]:
        """Every one of that name and status so far, with the path it came by."""
        return [
            (path, alert)
            for path, message in list(self.messages)
            for alert in message["alerts"]
            if alert["labels"]["alertname"] == name and alert["status"] == status
        ]


class _Listening(http.server.BaseHTTPRequestHandler):
    server: Heard

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.messages.append((self.path, json.loads(body)))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class Scraped(http.server.ThreadingHTTPServer):
    """Serves what a function gives to whoever scrapes."""

    daemon_threads = True

    def __init__(self, scrape: Callable[[], str]) -> None:
        super().__init__(("127.0.0.1", 0), _Scraping)
        self.scrape = scrape
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class _Scraping(http.server.BaseHTTPRequestHandler):
    server: Scraped

    def do_GET(self) -> None:
        body = self.server.scrape().encode()
        self.send_response(200)
        self.send_header("content-type", "text/plain; version=0.0.4")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Prometheus:
    """Scrapes and evaluates every second."""

    def __init__(self, process: Process, url: str) -> None:
        self.process = process
        self.url = url

    def query(self, expr: str) -> list[dict[str, Any]]:
        """The vector an expression gives now. AssertionError where Prometheus refuses it."""
        asked = urllib.parse.urlencode({"query": expr})
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/query?{asked}", timeout=30) as answer:
                told = json.load(answer)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{expr}: {error.read().decode()}") from None
        assert told["status"] == "success", told
        found: list[dict[str, Any]] = told["data"]["result"]
        return found


def prometheus(
    processes: Processes, home: Path, targets: dict[str, list[str]], token: str, alertmanager: str
) -> Prometheus:
    """With deploy/prometheus as it is shipped. targets: by job"""
    home.mkdir()
    rules = yaml.safe_load((DEPLOY / "prometheus" / "pointsman.rules.yml").read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            if "for" in rule:
                rule["for"] = "1s"
    (home / "pointsman.rules.yml").write_text(yaml.safe_dump(rules))
    (home / "token").write_text(token)
    settings = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    settings["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    settings["alerting"]["alertmanagers"][0]["static_configs"] = [{"targets": [alertmanager]}]
    for job in settings["scrape_configs"]:
        job["static_configs"] = [{"targets": targets[job["job_name"]]}]
        if "authorization" in job:
            job["authorization"]["credentials_file"] = str(home / "token")
    (home / "prometheus.yml").write_text(yaml.safe_dump(settings))
    port = free_port(0)
    command = [
        program("prometheus"),
        f"--config.file={home / 'prometheus.yml'}",
        f"--storage.tsdb.path={home / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    process = processes.start("prometheus", command)
    process.wait_until(lambda: answers(f"http://127.0.0.1:{port}/-/ready"), START_S)
    return Prometheus(process, f"http://127.0.0.1:{port}")


def alertmanager(processes: Processes, home: Path, receiver: str) -> str:
    """Its address, with deploy/alertmanager as it is shipped, all of it sent to one machine."""
    home.mkdir()
    text = (DEPLOY / "alertmanager" / "pointsman.yml").read_text()
    text = text.replace("127.0.0.1:9095", receiver)
    text = re.sub(r"(group_wait|group_interval): \w+", r"\1: 1s", text)
    (home / "alertmanager.yml").write_text(text)
    port = free_port(0)
    command = [
        program("prometheus-alertmanager"),
        f"--config.file={home / 'alertmanager.yml'}",
        f"--storage.path={home / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]
    process = processes.start("alertmanager", command)
    process.wait_until(lambda: answers(f"http://127.0.0.1:{port}/-/ready"), START_S)
    return f"127.0.0.1:{port}"
