"""Answers packed for clients that take it."""

import gzip
import zlib


def accepted(header: bytes | None) -> str:
    """`gzip` or `deflate` where the accept-encoding header takes it, gzip first; else empty."""
    if header is None:
        return ""
    offered = {}
    for part in header.lower().split(b","):
        name, _, parameters = part.partition(b";")
        offered[name.strip()] = parameters.replace(b" ", b"")
    for wanted in (b"gzip", b"deflate"):
        if wanted in offered and offered[wanted] not in {b"q=0", b"q=0.0", b"q=0.00", b"q=0.000"}:
            return wanted.decode()
    return ""


def packed(encoding: str, head: str, body: bytes) -> tuple[str, bytes]:
    """Head and body of the packed answer; other header lines speak of the body before packing."""
    content = gzip.compress(body, 1, mtime=0) if encoding == "gzip" else zlib.compress(body, 1)
    lines = f"content-encoding: {encoding}\r\nvary: accept-encoding\r\n"
    return head + lines, content
