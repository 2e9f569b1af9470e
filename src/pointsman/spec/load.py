"""From a file to checked projects, or to every problem of every document in it at once."""

from collections.abc import Iterable
from pathlib import Path as FilePath
from typing import Any, Final

import msgspec
from pydantic import ValidationError

from pointsman.domain.errors import Kind, PointsmanError, Violation
from pointsman.domain.names import qualified
from pointsman.spec import checks, source, wording
from pointsman.spec.draft import Draft
from pointsman.spec.models import Project
from pointsman.spec.places import Document

EXTENSIONS: Final = frozenset({".yaml", ".yml", ".json"})


def load_path(path: FilePath) -> tuple[Project, ...]:
    """The projects of a file, or of all `.yaml`, `.yml` and `.json` files below a directory.

    Raises PointsmanError: NOT_FOUND, INVALID or NOT_AVAILABLE_YET with all violations of all files.
    """
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix in EXTENSIONS)
        if not files:
            raise PointsmanError(
                Kind.NOT_FOUND, f"no .yaml, .yml or .json file below {path}", hint="see `init`"
            )
    elif path.exists():
        files = [path]
    else:
        raise PointsmanError(Kind.NOT_FOUND, f"there is no file {path}", hint="check the path")
    loaded = [_check(_text(file), str(file)) for file in files]
    return _settle(loaded)


def load_text(text: str, file: str = "") -> tuple[Project, ...]:
    """The projects of a text, in order; JSON is YAML too.

    file: what violations name
    Raises PointsmanError(INVALID) with every violation of every document; where all of them speak
    of blocks whose engine comes later, the kind is NOT_AVAILABLE_YET.
    """
    return _settle([_check(text, file)])


class _Loaded(msgspec.Struct):
    """What one file gave. `names`: places of the projects, to find doubles across files."""

    file: str
    projects: list[Project]
    names: list[tuple[str, Violation]]
    violations: list[Violation]


def _text(file: FilePath) -> str | PointsmanError:
    try:
        if file.stat().st_size > source.MAX_BYTES:
            return _too_large()
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        return PointsmanError(
            Kind.INVALID,
            f"is not UTF-8 (byte {error.start})",
            hint="save it as UTF-8",
        )
    except OSError as error:
        return PointsmanError(Kind.INVALID, f"cannot be read: {error.strerror}")


def _too_large() -> PointsmanError:
    return PointsmanError(
        Kind.INVALID,
        f"is larger than {source.MAX_BYTES // 1024} KiB",
        hint="one file a project is enough",
    )


def _check(text: str | PointsmanError, file: str) -> _Loaded:
    loaded = _Loaded(file, [], [], [])
    if isinstance(text, str) and len(text.encode("utf-8", "surrogatepass")) > source.MAX_BYTES:
        text = _too_large()
    if isinstance(text, PointsmanError):
        loaded.violations.append(Violation("", text.message, text.hint, file, 1, 1))
        return loaded
    found = False
    for document in source.read(text):
        found = True
        project, violations = check_document(document)
        loaded.violations += [msgspec.structs.replace(v, file=file) for v in violations]
        name = _name(document)
        if name is not None:
            place = document.value_place(("metadata", "name"))
            where = Violation("metadata.name", name, "", file, place.line, place.column)
            loaded.names.append((name, where))
        if project is not None:
            loaded.projects.append(project)
    if not found:
        hint = "`pointsman init` writes a commented one"
        loaded.violations.append(Violation("", "there is no project in it", hint, file, 1, 1))
    return loaded


def check_document(document: Document) -> tuple[Project | None, list[Violation]]:
    """The project, if nothing at all is wrong with it, and what is wrong."""
    if not document.violations or document.value is not None:
        project, violations = _validate(document)
    else:
        project, violations = None, []
    everything = document.violations + violations
    everything.sort(key=lambda violation: (violation.line, violation.column))
    return (None if everything else project), everything


def _validate(document: Document) -> tuple[Project | None, list[Violation]]:
    if not isinstance(document.value, dict):
        place = document.start
        hint = "begin with `apiVersion: pointsman/v1`; `pointsman init` writes a commented file"
        return None, [Violation("", "is not a mapping", hint, "", place.line, place.column)]
    try:
        project = Project.model_validate(document.value)
    except ValidationError as error:
        found = wording.violations(error, document)
        draft = Draft.salvage(document.value.get("spec"))
        return None, found + checks.check(draft, document)
    return project, checks.check(Draft.of(project, document.value["spec"]), document)


def _name(document: Document) -> str | None:
    metadata: Any = document.value.get("metadata") if isinstance(document.value, dict) else None
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str):
        return None
    return qualified(str(metadata.get("tenant", "default")), metadata["name"])


def _settle(loaded: Iterable[_Loaded]) -> tuple[Project, ...]:
    """All projects of all files, or one error with all their violations."""
    files = list(loaded)
    violations = [violation for file in files for violation in file.violations]
    first: dict[str, Violation] = {}
    for name, where in (entry for file in files for entry in file.names):
        earlier = first.setdefault(name, where)
        if earlier is not where:
            at = f"{earlier.file}:{earlier.line}" if earlier.file else f"line {earlier.line}"
            violations.append(
                msgspec.structs.replace(
                    where,
                    message=f"the project '{name}' is declared twice",
                    hint=f"the first one is at {at}; rename or remove one",
                )
            )
    if violations:
        raise error_of(violations)
    return tuple(project for file in files for project in file.projects)


def error_of(violations: list[Violation]) -> PointsmanError:
    """One error for all of them."""
    later = all(checks.is_later(violation) for violation in violations)
    count = "1 problem" if len(violations) == 1 else f"{len(violations)} problems"
    names = sorted({violation.file for violation in violations if violation.file})
    place = f" in {names[0]}" if len(names) == 1 else f" in {len(names)} files" if names else ""
    return PointsmanError(
        Kind.NOT_AVAILABLE_YET if later else Kind.INVALID,
        f"{count}{place}",
        hint="nothing was changed; correct them and try again",
        violations=tuple(violations),
    )
