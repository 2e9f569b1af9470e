"""From what a user declares and what the system remembers to the table that gateways serve.

The control plane's side of `decide`: it imports the spec, so no gateway imports it.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Final

import msgspec

from pointsman.decide.allocation import initial, reallocate
from pointsman.decide.expectations import quality_of
from pointsman.decide.guards import guards_of
from pointsman.domain import table
from pointsman.domain.errors import Kind, PointsmanError, Violation
from pointsman.domain.names import CHAMPION, qualified
from pointsman.domain.table import SPACE, Allocation, Feature, ProjectTable, Runtime, Variant
from pointsman.spec.canonical import revision
from pointsman.spec.models import Decision, Project, Rule

_FIRST_EPOCH: Final = 1
_WORD: Final = re.compile(r"\w+")
"""Every name a condition can read an attribute by is among its words."""


class RuleState(msgspec.Struct, frozen=True):
    """What is remembered of a rule, by name, even after it is gone from the spec.

    It outlives the rule so that one of the same name never counts an epoch twice, and brings its
    units back to where they were.

    salt: of its split; derived once, then stored, so that units stay even if names change
    epoch, fingerprint: of the last table; the epoch goes up when the fingerprint changes
    allocation: the last one; None where the rule never split
    """

    name: str
    salt: str
    epoch: int
    fingerprint: str
    allocation: Allocation | None = None


class Owned(msgspec.Struct, frozen=True):
    """A split that something else than the file moves: its weights stand in place of the file's."""

    rule: str
    weights: tuple[tuple[str, Decimal], ...]


class Adopted(msgspec.Struct, frozen=True):
    """A decision a variant took over together with a promoted version.

    over: threshold and denied classes the file says; where it says something else by now, it wins
    """

    variant: str
    threshold: float | None
    deny: tuple[str, ...]
    over: tuple[float | None, tuple[str, ...]]


class ProjectState(msgspec.Struct, frozen=True):
    """What `compile_project` needs besides the spec: what was resolved, and what was before.

    number: of the table to be compiled
    variants: resolved and pinned; of each, only name, version, source, artifact and runtime count,
        since threshold, denied classes, cost and constants come from the spec (constants need no
        entry at all)
    features: the project's input schema, declared or taken from a signature
    rules: as `next_state` left them; empty for a new project
    owned: splits whose weights are not the file's; adopted: decisions that are not
    """

    number: int
    variants: tuple[Variant, ...]
    features: tuple[Feature, ...]
    rules: tuple[RuleState, ...] = ()
    holdout_salt: str = ""
    owned: tuple[Owned, ...] = ()
    adopted: tuple[Adopted, ...] = ()


def compile_project(project: Project, state: ProjectState) -> ProjectTable:
    """The table of this spec in this state: the same bytes for the same arguments, anywhere.

    A rule's epoch goes up if its `fingerprint` differs from the one the state remembers; other
    rules keep theirs.
    Errors: UNAVAILABLE naming every variant that is not resolved, NOT_AVAILABLE_YET for a rule
    whose action has no engine yet, INVALID for expectations the features cannot meet.
    """
    spec = project.spec
    variants = _variants(project, state)
    remembered = {rule.name: rule for rule in state.rules}
    holdout_salt = state.holdout_salt or f"{qualified(project.tenant, project.name)}#holdout"
    owned = {split.rule: dict(split.weights) for split in state.owned}
    rules = tuple(
        _rule(project, _with_weights(rule, owned), remembered.get(rule.name), holdout_salt)
        for rule in spec.rules
    )
    fresh = ProjectTable(
        tenant=project.tenant,
        project=project.name,
        revision=revision(project),
        number=state.number,
        classes=tuple(spec.classes),
        positive=spec.positive_class,
        unit=spec.unit or "",
        context=spec.attributes,
        features=state.features,
        variants=variants,
        rules=rules,
        deadline_ms=spec.deadline,
        durability=spec.log.durability,
        on_log_failure=spec.log.on_failure,
        quality=quality_of(spec.quality, state.features),
    )
    prints = tuple(fingerprint(fresh, place) for place in range(len(rules)))
    counted = tuple(
        _with_epoch(rule, remembered.get(rule.name), print_)
        for rule, print_ in zip(rules, prints, strict=True)
    )
    numbered = msgspec.structs.replace(fresh, rules=counted)
    return msgspec.structs.replace(numbered, guards=guards_of(project, numbered, prints))


def next_state(state: ProjectState, published: ProjectTable) -> ProjectState:
    """What to remember once this table is published: the state to compile the next one from."""
    before = {rule.name: rule for rule in state.rules}
    # A rule that is gone keeps its epoch number, and starts another one when it comes back.
    rules = {name: msgspec.structs.replace(rule, fingerprint="") for name, rule in before.items()}
    holdout_salt = state.holdout_salt
    for place, rule in enumerate(published.rules):
        last = before.get(rule.name)
        rules[rule.name] = RuleState(
            name=rule.name,
            salt=rule.salt,
            epoch=rule.epoch,
            fingerprint=fingerprint(published, place),
            # A rule that stops splitting may split again: its units then come back.
            allocation=rule.allocation or (last.allocation if last else None),
        )
        holdout_salt = rule.holdout_salt
    return ProjectState(
        number=published.number + 1,
        variants=published.variants,
        features=published.features,
        rules=tuple(rules[name] for name in sorted(rules)),
        holdout_salt=holdout_salt,
        owned=state.owned,
        adopted=state.adopted,
    )


def restored(state: ProjectState, earlier: ProjectTable) -> ProjectState:
    """The state from which the spec of an earlier table compiles to that table again, bit for bit
    in variants and allocations, under a new number and with epochs that only go up."""
    then = {rule.name: rule for rule in earlier.rules}
    rules = tuple(
        msgspec.structs.replace(
            rule,
            salt=then[rule.name].salt,
            allocation=then[rule.name].allocation or rule.allocation,
        )
        if rule.name in then
        else rule
        for rule in state.rules
    )
    return msgspec.structs.replace(
        state, variants=earlier.variants, features=earlier.features, rules=rules
    )


def fingerprint(project: ProjectTable, place: int) -> str:
    """Equal for two tables' rules exactly if their evidence may be pooled (hex, 32 digits).

    place: of the rule among `project.rules`

    Whom a rule meets counts: its condition, those of the rules before it (in any order: a request
    reaches it only past all of them), and the attributes they read, defaults included. What a rule
    before it does with its own requests (variants, weights, holdout) does not. The whole split
    counts, not only its widths: an undo can give the same weights to other units, and a unit that
    changed arms belongs to neither. So do the classes and their order, by which answers are read.
    """
    rule = project.rules[place]
    assigned = set(rule.allocation.arms) if rule.allocation is not None else {rule.use}
    holdout = rule.holdout if rule.allocation is not None else 0
    if holdout:
        assigned.add(CHAMPION)
    passed = sorted({earlier.when for earlier in project.rules[:place] if earlier.when})
    read = set(_WORD.findall(" ".join([*passed, rule.when or ""])))
    parts = (
        rule.when,
        passed,
        [attribute for attribute in project.context if attribute.name in read],
        rule.use,
        rule.allocation,
        rule.salt,
        project.unit if rule.allocation is not None else None,
        (holdout, rule.holdout_salt) if holdout else None,
        (project.classes, project.positive),
        sorted((v for v in project.variants if v.name in assigned), key=lambda v: v.name),
    )
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:32]


def points(percent: Decimal) -> int:
    """The cut on [0, 2^32] nearest to a percentage: 0 for 0, all of it for 100."""
    return round(Fraction(percent) * SPACE / 100)


def decision_of(project: Project, variant: str, adopted: Iterable[Adopted] = ()) -> Decision:
    """What a variant does with predictions: as declared, or as adopted while that still stands."""
    declared = project.spec.decision_of(variant)
    for one in adopted:
        if one.variant == variant and one.over == (declared.threshold, tuple(declared.deny)):
            return Decision(threshold=one.threshold, deny=one.deny)
    return declared


def _with_weights(rule: Rule, owned: Mapping[str, dict[str, Decimal]]) -> Rule:
    weights = owned.get(rule.name)
    if weights is None or rule.split is None:
        return rule
    return rule.model_copy(update={"split": weights})


def _rule(project: Project, rule: Rule, before: RuleState | None, holdout_salt: str) -> table.Rule:
    salt = (
        before.salt
        if before is not None
        else f"{qualified(project.tenant, project.name)}/{rule.name}#split"
    )
    return table.Rule(
        name=rule.name,
        when=rule.when,
        use=rule.use or "",
        allocation=_allocation(rule, before),
        salt=salt,
        holdout=points(rule.holdout),
        holdout_salt=holdout_salt,
        shadows=tuple(
            table.Shadow(shadow.variant, points(shadow.percent), f"{salt}#{shadow.variant}")
            for shadow in rule.shadow
        ),
        fallback=tuple(rule.fallback),
        epoch=0,
    )


def _allocation(rule: Rule, before: RuleState | None) -> Allocation | None:
    if rule.use is not None:
        return None
    if rule.split is None:
        raise PointsmanError(
            Kind.NOT_AVAILABLE_YET,
            f"rule {rule.name} has neither `use` nor `split`, and other actions are not available",
            hint="give the rule `use` or `split`",
        )
    if before is None or before.allocation is None:
        return initial(rule.split)
    return reallocate(before.allocation, rule.split)


def _with_epoch(rule: table.Rule, before: RuleState | None, print_: str) -> table.Rule:
    if before is None:
        return msgspec.structs.replace(rule, epoch=_FIRST_EPOCH)
    changed = print_ != before.fingerprint
    return msgspec.structs.replace(rule, epoch=before.epoch + int(changed))


def _variants(project: Project, state: ProjectState) -> tuple[Variant, ...]:
    resolved = {variant.name: variant for variant in state.variants}
    missing = [
        Violation(f"spec.variants.{name}", "the model is not prepared")
        for name, declared in project.spec.variants.items()
        if declared.constant is None and name not in resolved
    ]
    if missing:
        raise PointsmanError(
            Kind.UNAVAILABLE,
            f"not every variant of {qualified(project.tenant, project.name)} is prepared",
            hint="resolve and prepare the models before compiling",
            violations=tuple(missing),
        )
    return tuple(_variant(project, name, resolved, state.adopted) for name in project.spec.variants)


def _variant(
    project: Project, name: str, resolved: dict[str, Variant], adopted: Iterable[Adopted]
) -> Variant:
    """The resolved variant with the parameters that are the spec's to say."""
    declared = project.spec.variants[name]
    decision = decision_of(project, name, adopted)
    if declared.constant is None:
        pinned = msgspec.structs.replace(resolved[name], constant="")
    else:
        pinned = Variant(name, "constant", "", "", Runtime.CONSTANT, constant=declared.constant)
    return msgspec.structs.replace(
        pinned,
        threshold=decision.threshold,
        deny=tuple(decision.deny),
        cost_per_request=declared.cost.per_request,
    )
