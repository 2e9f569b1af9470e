"""The grammar of model references. Whether a model exists is the registry's word, not ours.

A reference may name its registry where a URI names its host: `models://staging/income@champion`.
"""

import re
from typing import Final

from pointsman.domain.names import is_name

_QUALIFIED: Final = re.compile(r"(models|runs)://([^/]*)(/.*)?", re.DOTALL)
_ALIAS: Final = re.compile(r"models:/[^/@:]+@[A-Za-z0-9_-]+")
_VERSION: Final = re.compile(r"models:/[^/@:]+/[1-9][0-9]*")
_LOGGED: Final = re.compile(r"models:/m-[0-9a-f]+")
_RUN: Final = re.compile(r"runs:/[0-9a-f]{32}/[^/].*")
_SCHEME: Final = re.compile(r"([a-z][a-z0-9+.-]*):(//)?", re.IGNORECASE)
_STAGES: Final = frozenset({"production", "staging", "archived", "none", "latest"})
_FORMS: Final = "models:/NAME@ALIAS, models:/NAME/VERSION, runs:/RUN_ID/PATH or a path"


def split(uri: str) -> tuple[str, str]:
    """The registry it names, empty where it names none, and the reference without it."""
    if match := _QUALIFIED.fullmatch(uri):
        return match[2], f"{match[1]}:{match[3] or '/'}"
    return "", uri


def within(uri: str, registry: str) -> str:
    """The reference with the registry named; one that names its own, and a path, stay as they
    are."""
    for scheme in ("models:", "runs:"):
        if uri.startswith(f"{scheme}/") and not uri.startswith(f"{scheme}//"):
            return f"{scheme}//{registry}{uri.removeprefix(scheme)}"
    return uri


def is_alias(uri: str) -> bool:
    """Whether what it names can move to another version."""
    return _ALIAS.fullmatch(split(uri)[1]) is not None


def problem(uri: str) -> tuple[str, str] | None:
    """Message and hint where it is no reference to a model, else None."""
    if any(character.isspace() and character != " " for character in uri) or uri != uri.strip():
        return "a model reference has no blanks around it", ""
    if match := _QUALIFIED.fullmatch(uri):
        if not is_name(match[2]):
            hint = f"write {match[1]}://REGISTRY/..., the name as the operator configured it"
            return f"'{match[2]}' is not the name of a registry", hint
        plain = split(uri)[1]
        found = problem(plain)
        return found and (found[0].replace(f"'{plain}'", f"'{uri}'"), found[1])
    if uri.startswith("models:"):
        return _registered(uri)
    if uri.startswith("runs:"):
        if _RUN.fullmatch(uri):
            return None
        return f"'{uri}' names no run's model", "write runs:/RUN_ID/PATH, RUN_ID in 32 hex digits"
    path = uri.removeprefix("file://") if uri.startswith("file:///") else uri
    scheme = _SCHEME.match(path)
    if scheme:
        return f"models cannot be read from '{scheme[1]}:'", f"write {_FORMS}"
    if not path.startswith(("/", "./")):
        return f"'{uri}' is not a model reference", f"write {_FORMS}"
    if ".." in path.split("/"):
        return "a path must not climb with `..`", "write it from the root the operator allows"
    return None


def _registered(uri: str) -> tuple[str, str] | None:
    if any(form.fullmatch(uri) for form in (_ALIAS, _VERSION, _LOGGED)):
        return None
    name, _, last = uri.removeprefix("models:").lstrip("/").rpartition("/")
    if name and last.casefold() in _STAGES:
        hint = f"name an alias (models:/{name}@champion) or a version (models:/{name}/3)"
        return f"'{uri}' names a stage, which is not a version", hint
    return f"'{uri}' names no version", "write models:/NAME@ALIAS or models:/NAME/VERSION"
