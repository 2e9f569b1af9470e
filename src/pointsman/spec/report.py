"""Where checks put what they find."""

from pointsman.domain.errors import Violation
from pointsman.domain.suggestion import did_you_mean
from pointsman.domain.table import AttributeType
from pointsman.spec import references
from pointsman.spec.draft import Draft
from pointsman.spec.places import Document, Path, render


class Report:
    """Violations of one document, each at the place of its path."""

    def __init__(self, document: Document) -> None:
        self.violations: list[Violation] = []
        self._document = document

    def add(self, path: Path, message: str, hint: str, *, at_key: bool = False) -> None:
        """A violation at the value of a path, or at its key where it is a mapping or list."""
        document = self._document
        if any(path[:length] in document.broken for length in range(1, len(path) + 1)):
            return
        value = self._at(path)
        container = at_key or isinstance(value, dict | list)
        place = document.place(path) if container else document.value_place(path)
        self.violations.append(Violation(render(path), message, hint, "", place.line, place.column))

    def inside(self, path: Path, problem: Violation) -> None:
        """A violation inside the text of a value: `problem` has its line and column there."""
        place = self._document.value_place(path)
        line, column = place.line, place.column
        if place.text:
            line = place.text_line + problem.line - 1
            column = place.text + problem.column - 1
        self.violations.append(
            Violation(render(path), problem.message, problem.hint, "", line, column)
        )

    def model(self, path: Path, uri: str) -> None:
        """A violation where the text is no model reference."""
        problem = references.problem(uri)
        if problem is not None:
            self.add(path, *problem)

    def slices(self, path: Path, slices: tuple[str, ...], draft: Draft) -> None:
        """Violations for slices that are not attributes with few values."""
        if "context" in draft.broken:
            return
        context = draft.context or {}
        for index, name in enumerate(slices):
            if name not in context:
                hint = did_you_mean(name, context) or "declare it under `spec.context`"
                self.add((*path, index), f"no attribute named '{name}' is declared", hint)
                continue
            attribute = context[name]
            if attribute is not None and attribute.type is AttributeType.DOUBLE:
                hint = "slice by a string, int or bool attribute with few values"
                self.add((*path, index), f"'{name}' is a double, with no values in common", hint)

    def _at(self, path: Path) -> object:
        value = self._document.value
        for part in path:
            try:
                value = value[part]
            except (KeyError, IndexError, TypeError):
                return None
        return value
