"""The manifest as a gateway reads it, from its controller or from its own disk."""

from typing import Final

import msgspec

from pointsman.domain.errors import Kind, PointsmanError
from pointsman.domain.table import FORMAT, Manifest

LAST_GOOD: Final = "table.json"
"""The last known good manifest, below DATA/gateway."""

_manifest = msgspec.json.Decoder(Manifest)


def read_manifest(content: bytes) -> Manifest:
    """The manifest. Raises PointsmanError(INVALID) for anything else."""
    try:
        manifest = _manifest.decode(content)
    except (msgspec.DecodeError, ValueError) as error:
        raise PointsmanError(Kind.INVALID, f"the manifest cannot be read: {error}") from None
    if manifest.format != FORMAT:
        raise PointsmanError(
            Kind.INVALID,
            f"the manifest has format {manifest.format}, this gateway reads {FORMAT}",
            hint="upgrade gateways before the controller",
        )
    return manifest
