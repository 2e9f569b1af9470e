"""A small SMTP server for tests: it takes mail, asks for a login if it is told to, and may speak
TLS from the first byte."""

import base64
import datetime as dt
import ipaddress
import socketserver
import ssl
import threading
from email import message_from_bytes
from email.message import Message
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class MailServer:
    """after_data: what DATA ends with; login: `user:password` asked for, empty = none"""

    def __init__(self, certificate: Path | None = None, login: str = "") -> None:
        self.mails: list[tuple[str, list[str], Message]] = []
        self.after_data = "250 taken"
        self.commands: list[str] = []
        self.login = login
        self._server = _Server(("127.0.0.1", 0), _Session)
        self._server.keeper = self
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    keeper: MailServer

    def handle_error(self, *_: object) -> None:
        """A client that goes away, or does not believe the certificate, is what tests are about."""


class _Session(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        self.keeper = self.server.keeper
        self.sender, self.to, self.welcome = "", [], not self.keeper.login
        self._say("220 test")
        while line := self.rfile.readline().decode().strip():
            verb = line.partition(" ")[0].upper()
            self.keeper.commands.append(verb)
            answer = getattr(self, f"do_{verb.lower()}", None)
            self._say(*(answer(line) if answer else ["502 not here"]))
            if verb == "QUIT":
                return

    def do_ehlo(self, _: str) -> list[str]:
        return ["250-test", "250 AUTH PLAIN" if self.keeper.login else "250 8BITMIME"]

    def do_auth(self, line: str) -> list[str]:
        said = base64.b64decode(line.split()[2]).decode().split("\0")
        self.welcome = f"{said[1]}:{said[2]}" == self.keeper.login
        return ["235 welcome" if self.welcome else "535 no"]

    def do_mail(self, line: str) -> list[str]:
        self.sender = _address(line)
        return ["250 ok" if self.welcome else "530 log in first"]

    def do_rcpt(self, line: str) -> list[str]:
        self.to.append(_address(line))
        return ["250 ok"]

    def do_data(self, _: str) -> list[str]:
        self._say("354 go on")
        lines = []
        while (line := self.rfile.readline()) not in (b".\r\n", b""):
            lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
        if self.keeper.after_data.startswith("2"):
            mail = message_from_bytes(b"".join(lines))
            self.keeper.mails.append((self.sender, self.to, mail))
        return [self.keeper.after_data]

    def do_quit(self, _: str) -> list[str]:
        return ["221 bye"]

    def _say(self, *lines: str) -> None:
        self.wfile.write("".join(f"{line}\r\n" for line in lines).encode())


def _address(line: str) -> str:
    return line.partition("<")[2].partition(">")[0]


def certificate(path: Path) -> Path:
    """A certificate of `localhost` that signs itself, with its key, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path
