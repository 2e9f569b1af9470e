"""Metrics and events for Datadog's agent: DogStatsD lines in UDP datagrams.

Written here rather than by Datadog's own client (`datadog` on PyPI) for two reasons. Ours are sums
over all workers, read from a file; the client draws at random which values it sends wherever a
sample rate is given, so a distribution that is summed up already cannot be handed to it. And it
imports an HTTP client along, in a process that has no other use for one, for four kinds of lines.

Format: https://docs.datadoghq.com/developers/dogstatsd/datagram_shell/
"""

import re
import socket
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal

PORT: Final = 8125
DATAGRAM_BYTES: Final = 1432
"""What fits into one frame of Ethernet, as Datadog's clients have it."""
_TEXT_BYTES: Final = 4000
_FORBIDDEN: Final = re.compile(r"[\s,|#@]")

Tags = Sequence[tuple[str, str]]
AlertType = Literal["info", "success", "warning", "error"]


def address_from(environment: Mapping[str, str]) -> str:
    """What DD_AGENT_HOST and DD_DOGSTATSD_PORT say; empty where there is no host."""
    host = environment.get("DD_AGENT_HOST", "").strip()
    if not host:
        return ""
    bracketed = f"[{host}]" if ":" in host and not host.startswith("[") else host
    return f"{bracketed}:{environment.get('DD_DOGSTATSD_PORT', '').strip() or PORT}"


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT` or `HOST`. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, str(PORT)
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdigit() or not 0 < int(port) <= 65535:
        raise ValueError("write HOST:PORT, for example 127.0.0.1:8125")
    return host, int(port)


def count(name: str, value: int, tags: Tags = ()) -> str:
    return f"{name}:{value}|c{_tags(tags)}"


def gauge(name: str, value: float, tags: Tags = ()) -> str:
    return f"{name}:{value}|g{_tags(tags)}"


def distribution(name: str, value: float, times: int, tags: Tags = ()) -> str:
    """One value that was seen `times` times, >= 1: the agent weighs it by one over its rate."""
    rate = "" if times == 1 else f"|@{1 / times!r}"
    return f"{name}:{value}|d{rate}{_tags(tags)}"


def event(title: str, text: str, at_s: int, alert: AlertType, tags: Tags = ()) -> str:
    """An event for Datadog's event stream. Texts are cut where they are too long for a datagram."""
    title, text = _one_line(title)[:200], _one_line(text)
    text = text.encode()[:_TEXT_BYTES].decode(errors="ignore")
    lengths = f"{len(title.encode())},{len(text.encode())}"
    return f"_e{{{lengths}}}:{title}|{text}|d:{at_s}|s:pointsman|t:{alert}{_tags(tags)}"


class Client:
    """Sends lines to one agent. Never blocks for it, and never fails: UDP tells nobody anything.

    Looking up a host name does block; it is done at each sending, so that an agent may move.
    environment: DD_ENV, DD_SERVICE and DD_VERSION become tags of every line
    """

    def __init__(self, address: str, environment: Mapping[str, str] | None = None) -> None:
        self._address = parse_address(address)
        given = environment or {}
        pairs = (("env", "DD_ENV"), ("service", "DD_SERVICE"), ("version", "DD_VERSION"))
        self._always = [(tag, given[name]) for tag, name in pairs if given.get(name)]

    def send(self, lines: Iterable[str]) -> bool:
        """Whether the system took them; whether anybody read them is not known."""
        own = _tags(self._always)
        if own:
            lines = [_with(line, own) for line in lines]
        try:
            family, _, _, _, where = socket.getaddrinfo(*self._address, type=socket.SOCK_DGRAM)[0]
            with socket.socket(family, socket.SOCK_DGRAM) as out:
                out.setblocking(False)
                for datagram in packed(lines):
                    out.sendto(datagram, where)
        except (OSError, UnicodeError):
            return False
        return True


def packed(lines: Iterable[str]) -> Iterable[bytes]:
    """Datagrams with as many whole lines as fit, in order."""
    held = b""
    for line in lines:
        encoded = line.encode()
        if held and len(held) + 1 + len(encoded) > DATAGRAM_BYTES:
            yield held
            held = b""
        held = held + b"\n" + encoded if held else encoded
    if held:
        yield held


def _tags(tags: Tags) -> str:
    if not tags:
        return ""
    return "|#" + ",".join(f"{name}:{_FORBIDDEN.sub('_', value)}" for name, value in tags)


def _with(line: str, own: str) -> str:
    return f"{line},{own[2:]}" if "|#" in line else line + own


def _one_line(text: str) -> str:
    return text.replace("\r", "").replace("\n", "\\n").replace("|", "/")
