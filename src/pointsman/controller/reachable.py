"""Whether the registries answer, asked now and then whether or not anybody needs them."""

from collections.abc import Callable, Mapping

from pointsman.domain.errors import PointsmanError


class Reachable:
    """checks: by registry; each raises PointsmanError where it does not answer. Blocking"""

    def __init__(self, checks: Mapping[str, Callable[[], object]]) -> None:
        self._checks = checks
        self._errors: dict[str, str] = {}

    @property
    def any(self) -> bool:
        """Whether there is any to ask."""
        return bool(self._checks)

    @property
    def errors(self) -> Mapping[str, str]:
        """What each registry last failed with, by its name; empty where it answered."""
        return dict(self._errors)

    def look(self) -> bool:
        """Asks each of them once. False: nothing is left to ask."""
        for name, check in self._checks.items():
            try:
                check()
            except PointsmanError as error:
                self._errors[name] = error.message
            else:
                self._errors[name] = ""
        return False
