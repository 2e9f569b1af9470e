"""What every request body passes before a decoder sees it: size, encoding, depth, characters."""

import re
import zlib
from typing import Final

import numpy as np

from pointsman.domain.errors import Kind, PointsmanError
from pointsman.gateway.settings import Limits

_ALL: Final = bytes(range(256))
_NOT_BRACKETS: Final = bytes(set(_ALL) - set(b'"[]{}'))
_STEPS: Final = bytes.maketrans(b'"[{]}', b"\x00\x01\x01\xff\xff")
_PART: Final = 1 << 20
_NUL: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_SMALL: Final = 64 << 10
"""Bodies may always unpack to this much: short repetitive ones compress better than any ratio."""

_WBITS: Final = {b"gzip": 31, b"x-gzip": 31, b"deflate": 15}


def unpack(body: bytes | bytearray, encoding: bytes, limits: Limits) -> bytes | bytearray:
    """The body without its content encoding.

    Errors: INVALID for an encoding we do not read, MALFORMED for a broken or unfinished stream,
    TOO_LARGE beyond the output cap or the ratio.
    """
    encoding = encoding.strip().lower()
    if encoding in {b"", b"identity"}:
        return body
    wbits = _WBITS.get(encoding)
    if wbits is None:
        raise PointsmanError(
            Kind.INVALID,
            f"content-encoding {encoding[:40].decode('latin-1')!r} is not read here",
            hint="send gzip, deflate or an unencoded body",
        )
    if wbits == 15 and not _has_zlib_head(body):
        wbits = -15  # some clients call the bare stream `deflate`
    cap = min(limits.batch_bytes, max(limits.unpack_ratio * len(body), _SMALL))
    machine = zlib.decompressobj(wbits)
    try:
        plain = machine.decompress(body, cap + 1)
    except zlib.error as error:
        raise PointsmanError(
            Kind.MALFORMED,
            f"the {encoding.decode()} body is broken: {error}",
            hint="send the bytes as they were packed, or leave content-encoding out",
        ) from None
    if len(plain) > cap:
        raise PointsmanError(
            Kind.TOO_LARGE,
            f"the body unpacks to more than {cap} bytes",
            hint=f"at most {limits.unpack_ratio} times its packed size and "
            f"{limits.batch_bytes} bytes; split the request",
        )
    if not machine.eof or machine.unused_data:
        what = "goes on after its end" if machine.eof else "ends too early"
        raise PointsmanError(
            Kind.MALFORMED,
            f"the {encoding.decode()} body {what}",
            hint="send one complete stream and nothing else",
        )
    return plain


def check_text(body: bytes | bytearray, depth: int) -> None:
    """Returns where the JSON text is strict UTF-8, not too deep, and free of NUL characters.

    Whether it is JSON at all is for the decoder to say. Raises PointsmanError(MALFORMED).
    """
    if not body.isascii():
        _check_utf8(body)
    if body.count(b"[") + body.count(b"{") > depth and _depth_of(body, depth) > depth:
        raise PointsmanError(
            Kind.MALFORMED,
            f"the JSON is nested deeper than {depth} levels",
            hint="send flat tensors or a list of feature objects",
        )
    if b"\\" in body:
        check_escapes(body)


def check_escapes(body: bytes | bytearray) -> None:
    """Returns where no string of the JSON text holds NUL. Raises PointsmanError(MALFORMED)."""
    if b"\\u0000" in body and _NUL.search(body) is not None:
        raise PointsmanError(
            Kind.MALFORMED, "the JSON contains a NUL character (\\u0000)", hint="remove it"
        )


def _check_utf8(body: bytes | bytearray) -> None:
    if body.startswith(b"\xef\xbb\xbf"):
        raise PointsmanError(
            Kind.MALFORMED,
            "the body starts with a byte order mark",
            hint="send UTF-8 without one",
        )
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise PointsmanError(
            Kind.MALFORMED,
            f"the body is not UTF-8: {error.reason} at byte {error.start}",
            hint="JSON is sent as UTF-8",
        ) from None


def _depth_of(body: bytes | bytearray, most: int) -> int:
    """The deepest nesting of brackets outside strings, exact up to `most` + 1.

    A part at a time and without loops over characters: the worst 16 MiB take a tenth of a second.
    """
    text = bytes(body)
    if b"\\" in text:
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    marks = np.frombuffer(text.translate(_STEPS, _NOT_BRACKETS), np.int8)
    deepest = depth = 0
    inside = 0
    for start in range(0, len(marks), _PART):
        part = marks[start : start + _PART]
        quotes = part == 0
        within = (np.cumsum(quotes, dtype=np.int32) + inside) & 1
        levels = np.cumsum(np.where(within, 0, part), dtype=np.int32)
        deepest = max(deepest, depth + int(levels.max()))
        if deepest > most:
            break
        depth += int(levels[-1])
        inside = int(within[-1])
    return deepest


def _has_zlib_head(body: bytes | bytearray) -> bool:
    return len(body) >= 2 and body[0] & 0x0F == 8 and (body[0] << 8 | body[1]) % 31 == 0
