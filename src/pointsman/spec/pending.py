"""Blocks whose engine comes later: checked like all others, then refused, never ignored."""

from typing import Any, Final

from pointsman.domain.suggestion import did_you_mean
from pointsman.spec.draft import Draft
from pointsman.spec.places import Path
from pointsman.spec.report import Report

LATER: Final = "is not available yet"

_SPEC_BLOCKS: Final = ("backends", "cache")
_RULE_BLOCKS: Final = ("bandit", "ensemble", "cascade")
_VARIANT_BLOCKS: Final = ("backend", "requires")
_HINTS: Final = {
    "backends": "this release runs models in process only; remove it",
    "backend": "this release runs models in process only; remove it",
    "cache": "every request is decided and answered anew; remove it",
    "bandit": "use `split`",
    "ensemble": "use `split` or `use`, with the others as `shadow`",
    "cascade": "use `split` or `use`",
    "requires": "check the version before the alias moves; remove it",
}


def later_blocks(draft: Draft, report: Report) -> None:
    """One refusal for each such block, at its key."""
    for path, name in _present(draft):
        message = f"`{name}` {LATER}"
        report.add(path, message, _HINTS[name], at_key=True)


def _present(draft: Draft) -> list[tuple[Path, str]]:
    found: list[tuple[Path, str]] = [
        (("spec", name), name) for name in _SPEC_BLOCKS if name in draft.raw
    ]
    variants = draft.raw.get("variants")
    for variant, block in variants.items() if isinstance(variants, dict) else ():
        found += [(("spec", "variants", variant, n), n) for n in _keys(block, _VARIANT_BLOCKS)]
    rules = draft.raw.get("rules")
    for index, block in enumerate(rules if isinstance(rules, list) else ()):
        found += [(("spec", "rules", index, n), n) for n in _keys(block, _RULE_BLOCKS)]
    return found


def _keys(block: Any, names: tuple[str, ...]) -> list[str]:
    return [name for name in names if isinstance(block, dict) and name in block]


def later_references(draft: Draft, report: Report) -> None:
    """Names inside such blocks that name nothing."""
    variants = _Names("variant", set(draft.variants), known="variants" not in draft.broken)
    for index, rule in enumerate(draft.rules):
        if rule is None:
            continue
        path: Path = ("spec", "rules", index)
        if rule.bandit is not None:
            _each(report, variants, (*path, "bandit", "arms"), rule.bandit.arms)
            report.slices((*path, "bandit", "context"), rule.bandit.context, draft)
        if rule.ensemble is not None:
            _each(report, variants, (*path, "ensemble", "members"), rule.ensemble.members)
        for step, cascade in enumerate(rule.cascade or ()):
            variants.check(report, (*path, "cascade", step, "use"), cascade.use)
    declared = draft.raw.get("backends")
    backends = _Names("backend", set(declared) if isinstance(declared, dict) else set())
    for name, variant in draft.variants.items():
        if variant is not None and variant.backend is not None:
            path = ("spec", "variants", name, "backend")
            backends.check(report, path, variant.backend)


def _each(report: Report, names: "_Names", path: Path, values: tuple[str, ...]) -> None:
    for index, value in enumerate(values):
        names.check(report, (*path, index), value)


class _Names:
    """Names of one kind; `known` is false where the block that declares them is not understood."""

    def __init__(self, kind: str, names: set[str], *, known: bool = True) -> None:
        self._kind, self._names, self._known = kind, names, known

    def check(self, report: Report, path: Path, name: str) -> None:
        if self._known and name not in self._names:
            hint = did_you_mean(name, self._names)
            report.add(path, f"there is no {self._kind} named '{name}'", hint)
