"""Exports over HTTP."""

from collections.abc import Iterator
from typing import IO, Annotated, Final

from fastapi import Query, Request
from fastapi.responses import StreamingResponse

from pointsman.archive.jobs import Format, Wanted
from pointsman.controller.exporting import Exports
from pointsman.controller.permissions import Permission, Route, caller
from pointsman.domain.errors import Kind, PointsmanError
from pointsman.domain.names import qualified

_CHUNK: Final = 1 << 20
_TYPES: Final[dict[Format, str]] = {
    "parquet": "application/vnd.apache.parquet",
    "csv": "text/csv; charset=utf-8",
    "jsonl": "application/jsonl",
}
_ROOT: Final = "/v1/tenants/{tenant}/projects/{project}/decisions:export"

Text = Annotated[str, Query(max_length=256)]
Moment = Annotated[int, Query(ge=0, le=253_402_300_799_000)]


class ExportRoutes:
    """What hands out full records, features included."""

    def __init__(self, exports: Exports) -> None:
        self._exports = exports

    def routes(self) -> list[Route]:
        return [Route("GET", _ROOT, Permission.EXPORT, self.export)]

    def export(  # noqa: PLR0913, PLR0917 - one parameter a filter
        self,
        request: Request,
        tenant: str,
        project: str,
        format: Format = "parquet",  # noqa: A002 - the name it has in the query
        since_ms: Moment = 0,
        until_ms: Moment = 0,
        variant: Text = "",
        version: Text = "",
        served_by: Text = "",
        rule: Text = "",
        reason: Text = "",
        slice: Annotated[tuple[str, ...], Query(max_length=20)] = (),  # noqa: A002 - as `format`
        rolled_back: bool = False,  # noqa: FBT001, FBT002 - as `format`
    ) -> StreamingResponse:
        """The decisions as one file; its length is known, so that a broken transfer shows."""
        name = qualified(tenant, project)
        wanted = Wanted(
            since_ms, until_ms, variant, version, served_by, rule, reason, _slices(slice)
        )
        if rolled_back:
            wanted = self._exports.rolled_back(name, wanted)
        opened = self._exports.open(name, format, wanted, caller(request).actor)
        return StreamingResponse(
            _chunks(opened.file),
            media_type=_TYPES[format],
            headers={
                "content-length": str(opened.bytes),
                "content-disposition": f'attachment; filename="{project}.{format}"',
                "x-pointsman-decisions": str(opened.decisions),
            },
        )


def _slices(given: tuple[str, ...]) -> dict[str, str]:
    slices = {}
    for pair in given:
        attribute, equals, value = pair.partition("=")
        if not attribute or not equals:
            raise PointsmanError(
                Kind.INVALID, f"not a slice: {pair[:80]!r}", hint="write attribute=value"
            )
        slices[attribute] = value
    return slices


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while chunk := file.read(_CHUNK):
            yield chunk
