"""The rules for names and identifiers, in one place, because every edge must agree on them."""

import re
from typing import Final

NAME_PATTERN: Final = r"^[a-z0-9][a-z0-9._-]{0,127}$"
"""Projects, tenants, variants, rules, metrics, registries: safe in a URL, a path and a label."""

ATTRIBUTE_PATTERN: Final = r"^[A-Za-z_][A-Za-z0-9_]{0,127}$"
"""Context attributes: they are CEL identifiers, read in conditions as `request.NAME`."""

DEFAULT_TENANT: Final = "default"
EVERY_TENANT: Final = "*"
"""Tenant of a data key that may read everybody's metrics; no name, so no tenant is called so."""
CHAMPION: Final = "champion"
"""The variant that serves when nothing else is said; every project has one by this name."""

MAX_ID_BYTES: Final = 256
"""Units, request ids, feedback ids: longer ones are refused, never cut (reliability 4.3)."""

_NAME = re.compile(NAME_PATTERN)


def is_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None


def qualified(tenant: str, project: str) -> str:
    """`tenant/project`: the key of a project everywhere inside; `default/` is never left out."""
    return f"{tenant}/{project}"
