"""What is wrong with a block `alerts` that its shape does not show."""

from typing import Final

from pointsman.domain.alert import OF_PROJECTS, USUAL, Kind, Usual
from pointsman.domain.suggestion import did_you_mean
from pointsman.spec.draft import Draft
from pointsman.spec.places import Path
from pointsman.spec.report import Report

_RULES: Final[Path] = ("spec", "alerts", "rules")
_KINDS: Final = tuple(kind.value for kind in OF_PROJECTS)
_BOUNDED: Final = {"bound": "bound", "window": "window_ms", "least": "least"}
"""Keys that not every kind has, by where its defaults are."""


def check_alerts(draft: Draft, report: Report) -> None:
    """Kinds that are none, and keys that a kind does not have."""
    rules = draft.at("alerts", "rules")
    if not isinstance(rules, dict):
        return
    for name, rule in rules.items():
        if not isinstance(name, str) or name not in _KINDS:
            hint = did_you_mean(str(name), _KINDS)
            report.add((*_RULES, name), f"there is no kind of alert '{name}'", hint)
            continue
        usual = USUAL[Kind(name)]
        for key, default in _BOUNDED.items():
            if isinstance(rule, dict) and key in rule and getattr(usual, default) is None:
                message = f"an alert of kind '{name}' has no `{key}`"
                report.add((*_RULES, name, key), message, _others(usual))


def _others(usual: Usual) -> str:
    has = [key for key, default in _BOUNDED.items() if getattr(usual, default) is not None]
    return f"remove it; it has {', '.join(f'`{key}`' for key in has)}" if has else "remove it"
