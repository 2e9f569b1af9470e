"""The outermost layer: who may address the admin API, from which page, and how much at once."""

import socket

import pytest

from control_process import ControlProcess

PATH = "/v1/projects"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8701", 200),
        ("localhost", 200),
        ("LOCALHOST:1", 200),
        ("[::1]:8701", 200),
        ("attacker.example", 403),
        ("127.0.0.1.attacker.example", 403),
        ("localhost.attacker.example:8701", 403),
        ("", 403),
    ],
)
def test_a_foreign_host_name_is_refused(control: ControlProcess, host: str, status: int) -> None:
    """A page whose name was rebound to our address still names itself in Host."""
    assert control.call("GET", PATH, headers={"host": host}).status_code == status


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ({"origin": "http://localhost:8701"}, 200),
        ({"origin": "http://127.0.0.1:3000"}, 200),
        ({"origin": "https://attacker.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"sec-fetch-site": "cross-site"}, 403),
    ],
)
def test_a_page_of_another_origin_is_refused(
    control: ControlProcess, header: dict[str, str], status: int
) -> None:
    assert control.call("GET", PATH, headers=header).status_code == status
    assert control.call("GET", "/healthz", headers=header).status_code == status


def test_a_body_over_the_limit_is_refused_however_it_comes(control: ControlProcess) -> None:
    """By its announced length before it is read, and by what was read where none is announced."""
    announced = control.call("POST", "/v1/keys", b"x" * (2 << 20))
    assert announced.status_code == 413

    host, port = control.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as raw:
        head = (
            f"POST /v1/keys HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {control.token}\r\n"
            "transfer-encoding: chunked\r\n\r\n"
        )
        raw.sendall(head.encode())
        chunk = b"%x\r\n" % (1 << 18) + b"x" * (1 << 18) + b"\r\n"
        try:
            for _ in range(8):
                raw.sendall(chunk)
        except OSError:
            pass
        assert b" 413 " in raw.recv(64)


def test_the_port_says_no_more_than_that_it_lives(control: ControlProcess) -> None:
    answer = control.call("GET", "/healthz", token="")

    assert answer.json() == {"status": "ok"}
    assert "server" not in answer.headers
