"""The grammar of model references. Whether a model exists is the registry's word, not ours."""

import re
from typing import Final

_ALIAS: Final = re.compile(r"models:/[^/@:]+@[A-Za-z0-9_-]+")
_VERSION: Final = re.compile(r"models:/[^/@:]+/[1-9][0-9]*")
_LOGGED: Final = re.compile(r"models:/m-[0-9a-f]+")
_RUN: Final = re.compile(r"runs:/[0-9a-f]{32}/[^/].*")
_SCHEME: Final = re.compile(r"([a-z][a-z0-9+.-]*):(//)?", re.IGNORECASE)
_STAGES: Final = frozenset({"production", "staging", "archived", "none", "latest"})
_FORMS: Final = "models:/NAME@ALIAS, models:/NAME/VERSION, runs:/RUN_ID/PATH or a path"


def is_alias(uri: str) -> bool:
    """Whether what it names can move to another version."""
    return _ALIAS.fullmatch(uri) is not None


def problem(uri: str) -> tuple[str, str] | None:
    """Message and hint where it is no reference to a model, else None."""
    if any(character.isspace() and character != " " for character in uri) or uri != uri.strip():
        return "a model reference has no blanks around it", ""
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
