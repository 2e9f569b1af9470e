"""What every key means, in one sentence: shown by editors (JSON Schema) and in the reference."""

from typing import Final

LATER_NOTE: Final = "Not available yet."

KEYS: Final[dict[str, dict[str, str]]] = {
    "Project": {
        "apiVersion": "Version of this language. Defaults never change within one.",
        "kind": "What the document declares.",
        "metadata": "What the project is called and who it belongs to.",
        "spec": "The project itself.",
    },
    "Metadata": {
        "name": "The stable address clients call.",
        "tenant": "Team whose keys, quotas and data these are.",
        "owner": "Who to ask, for example a mail address.",
        "labels": "Free text by key, for finding and grouping projects.",
    },
    "ProjectSpec": {
        "classes": "All classes, in the order of the probabilities answers carry. Models are "
        "matched to them by name.",
        "positive": "The class thresholds and recall speak of. Without it, the second of two.",
        "unit": "Context attribute that says who is assigned: the same unit always gets the same "
        "variant. Without it, or in a request without one, every request is drawn by itself.",
        "context": "Typed attributes of a request that rules may read.",
        "features": "The models' input: taken from a model's signature, or declared here. Without "
        "it, the champion's signature.",
        "decision": "Default for variants: what the business does with a prediction.",
        "variants": "What traffic can go to, by name. One is named `champion`: it answers whenever "
        "nothing else may.",
        "backends": "Remote servers that run variants.",
        "rules": "Asked in order, the first match decides. The last has no `when`. Without rules, "
        "everything goes to the champion.",
        "deadline": "For a whole request, fallbacks included; at most 1m.",
        "cache": "Answers kept for the same request and decision.",
        "log": "How safe a decision is on disk before its answer leaves.",
        "retention": "How long decisions are kept.",
        "outcomes": "What becomes known about decisions, and how long that takes.",
        "metrics": "Numbers computed from decisions and outcomes, by name.",
        "rollout": "How a challenger grows, step by step, judged by evidence.",
        "limits": "Blast radius: a change over it needs a second approver.",
        "drift": "When a shift of inputs or answers is told, compared with what they looked like.",
        "quality": "What is expected of features, and what is done about rows that differ. Without "
        "it, rows that lack features, have others or other types are refused.",
        "alerts": "Who hears of what goes wrong, and from when on. Without it, everybody hears of "
        "everything.",
    },
    "Drift": {
        "psi": "Population stability index from which a shift matters. Chance and sample size "
        "raise it where they have to.",
        "falseAlarms": "Share of false ones among all alarms, over all features and all times.",
        "reference": "Decisions of a new champion that are compared with from then on.",
        "window": "What is compared: each hour, or each day.",
        "features": "Only these are compared; without it, all.",
        "onDrift": "`warn` tells people; `hold` also keeps a rollout where it is until a window "
        "without drift.",
    },
    "Quality": {
        "onMissing": "A required feature is absent or null.",
        "onExtra": "The row has something that is no feature; `warn` leaves it out.",
        "onType": "A value that the feature's type cannot hold.",
        "onRange": "A value is out of its feature's `range`.",
        "onUnseen": "A value is not among its feature's `values`.",
        "onAllNull": "There are two features or more that may be null, and all of them are.",
        "features": "What is expected of each, by name, and what answers it has of its own.",
    },
    "Expected": {
        "range": "Lowest and highest value, both included.",
        "values": "All values there are: text, or numbers.",
        "value": "What stands in where the answer is `impute`.",
        "onMissing": "As above, for this feature. For one that need not be there it is a problem "
        "only where it has an answer here, and `warn` lets it go on as null.",
        "onType": "As above, for this feature.",
        "onRange": "As above, for this feature.",
        "onUnseen": "As above, for this feature.",
    },
    "ContextAttribute": {
        "type": "Its CEL type.",
        "default": "Value for requests without it. Without a default the attribute is required.",
    },
    "Features": {
        "from": "Model whose signature is the input schema.",
        "declared": "Input columns, in order.",
    },
    "DeclaredFeature": {
        "name": "Column name, as the models know it.",
        "type": "Its MLflow type.",
        "required": "Whether a request must have it, and not null.",
    },
    "Decision": {
        "threshold": "Score of the positive class from which it is predicted, between 0 and 1. "
        "Without it, the likeliest class.",
        "deny": "Classes that count as denied, for outcome guardrails.",
    },
    "VariantDecision": {
        "threshold": "As in `spec.decision`, for this variant: its scores have their own scale.",
        "deny": "As in `spec.decision`, for this variant.",
    },
    "Variant": {
        "model": "`models:/NAME@ALIAS`, `models:/NAME/VERSION`, `runs:/RUN_ID/PATH`, or a path "
        "below a root the operator allows; `models://REGISTRY/NAME@ALIAS` names the registry.",
        "constant": "Class this variant always answers: a fallback without a model.",
        "decision": "What differs from `spec.decision`. Changing it makes another variant.",
        "cost": "What a request to it costs.",
        "onAliasMove": "When the alias moves: `propose` waits for a person, `follow` goes along "
        "once the version is checked and warm, and within the project's limits. Without it, "
        "`propose` where a rollout or limits exist, else `follow`.",
        "requires": "What a version must show before a move to it is proposed.",
        "backend": "Where it runs, by the name of a backend.",
    },
    "Cost": {"per_request": "In the currency you count in."},
    "Rule": {
        "name": "Records and evidence name the rule by it.",
        "when": "CEL condition over `request.ATTRIBUTE`. A missing or null attribute sends the "
        "request to the champion with reason DEFAULT, never on to the next rule.",
        "use": "The one variant that answers.",
        "split": "Weight of each variant: relative, exact, need not sum to 100. A weight of 0 gets "
        "no request.",
        "holdout": "Percent of units kept on the champion, apart from all experiments.",
        "shadow": "Variants that also see the request, and never answer it.",
        "fallback": "Variants tried in order when the assigned one fails, within the deadline.",
        "bandit": "Weights learned from outcomes.",
        "ensemble": "Several variants answer together.",
        "cascade": "Variants asked one after the other until one is sure.",
    },
    "Shadow": {
        "variant": "Who watches.",
        "percent": "Share of units it sees, drawn apart from the split.",
    },
    "Log": {
        "durability": "`os`: the write has returned, which survives a killed process. `durable`: "
        "it is fsynced, which survives a power cut.",
        "onFailure": "When nothing can be recorded: `serve_fallback_unlogged` keeps answering from "
        "the champion, `refuse` answers 503.",
    },
    "Retention": {
        "hot": "Age at which rows leave the SQL store.",
        "archive": "Keeps full records as Parquet files, for that long; without it there are none.",
        "maxBytes": "Size of its rows in the SQL store, and of its archive; the oldest go first.",
    },
    "Outcomes": {"label": "The true class.", "reward": "A number, the higher the better."},
    "LabelOutcome": {"horizon": "How long after a decision its label can be trusted."},
    "RewardOutcome": {
        "horizon": "How long after a decision its reward can be trusted.",
        "default": "Reward of a decision that got none within the horizon.",
    },
    "ClassifierMetric": {
        "kind": "Quality of the predictions; needs labels.",
        "of": "Which figure. precision, recall, specificity, f1 and auc are those of the positive "
        "class.",
        "slices": "Attributes by whose values it is also computed.",
    },
    "DecisionMetric": {
        "kind": "Share of decisions with an event; needs no labels.",
        "event": "`denied`: the prediction is one of the variant's denied classes. `positive`: it "
        "is the positive class. `score > NUMBER`: so much of the probability is the positive "
        "class's.",
        "slices": "Attributes by whose values it is also computed.",
    },
    "OperationalMetric": {
        "kind": "Share of requests with an event of serving itself.",
        "event": "`error`: the assigned variant did not answer. `fallback`: and another did. "
        "`timeout`, `malformed`: not in time, or no probabilities (NaN). `latency > DURATION`, "
        "`cost > NUMBER`: of an answer.",
        "slices": "Attributes by whose values it is also computed.",
    },
    "Backend": {
        "kind": "What it speaks.",
        "url": "Where it is.",
        "timeout": "For one call, at most the project's deadline.",
    },
    "Cache": {"ttl": "How long an answer is kept."},
    "Requires": {
        "maxAge": "Oldest version that is acceptable.",
        "tags": "Registry tags it must have, with these values.",
        "metrics": "Bounds on logged metrics, for example `auc: '>= 0.9'`.",
    },
    "Bandit": {
        "arms": "Variants to choose from.",
        "policy": "How it explores.",
        "reward": "Outcome it learns from.",
        "context": "Attributes it may use.",
        "floor": "Smallest share of any arm, 0 to 1.",
        "update": "How often weights are computed.",
        "horizon": "How long an outcome is waited for.",
        "draw": "`decision`, or a window such as `1d` in which a unit keeps its arm.",
    },
    "Ensemble": {
        "members": "Variants that answer together.",
        "combine": "How probabilities become one answer.",
        "weights": "`equal`, `adaptive`, or a weight for each member.",
        "loss": "What adaptive weights minimise.",
        "quorum": "Answers needed before the deadline.",
    },
    "CascadeStep": {
        "use": "Variant that is asked.",
        "until": "Condition on its answer under which no further one is asked.",
    },
    "Rollout": {
        "variant": "The newcomer.",
        "against": "What it is compared with.",
        "rule": "Whose split it moves.",
        "steps": "What happens, in order.",
        "guardrails": "A breach rolls back at once.",
        "signals": "A breach holds.",
        "confidence": "Of every verdict, over the whole rollout.",
        "expectedDecisions": "Where you expect to decide; tunes the tests.",
        "onNoData": "What silence means.",
        "noDataDeadline": "How long silence may last.",
        "cooldown": "Shortest time between two rollouts.",
        "onSuccess": "What is written back to the registry.",
    },
    "Step": {
        "setWeight": "Percent of the rule's traffic.",
        "analysis": "What must have been seen.",
        "approval": "Who has to agree.",
    },
    "Analysis": {
        "hold": "Shortest time.",
        "minDecisions": "Fewest decisions.",
        "minOutcomes": "Fewest outcomes.",
    },
    "Approval": {"by": "Role of who may approve."},
    "Bound": {
        "metric": "Name of a metric.",
        "relative": "Largest harm, as a share of the champion's value.",
        "absolute": "Largest harm, in the metric's unit.",
        "atLeast": "Smallest difference to the champion.",
        "atMost": "Largest difference to the champion.",
        "slices": "Attributes in whose every value it must hold.",
    },
    "OnSuccess": {"setAlias": "Alias that is moved to the new version."},
    "Limits": {
        "maxStep": "Percent of traffic moved at once.",
        "maxUnitsMoved": "Share of units that change variant, 0 to 1.",
        "maxDenyShift": "Change of any segment's share of denied decisions, 0 to 1.",
        "freeze": "Days on which nothing moves forward; never stops a rollback.",
        "approvals": "People who must agree beyond these limits.",
    },
    "Alerts": {
        "receivers": "Names of receivers, as the operator calls them. Without it, all there are.",
        "group": "What happens within it is told in one message; at most 1h.",
        "repeat": "How often an alert that stays open is told again; at least 1m.",
        "rules": "What differs from the usual, by kind of alert.",
    },
    "AlertRule": {
        "severity": "How much it hurts.",
        "bound": "Largest share that is fine, in percent.",
        "window": "What is looked at; at least 10s.",
        "least": "Fewest decisions within the window.",
        "after": "How long it must be true before anybody is told.",
        "quiet": "How long it must be gone before it counts as over; at least 10s.",
        "receivers": "Who hears of this kind, instead of those of all alerts.",
        "mute": "Whether nobody hears of it, and it is not shown.",
    },
    "Freeze": {"from": "First day.", "to": "Last day.", "zone": "Time zone of the days."},
}

LATER_KEYS: Final = frozenset(
    {
        ("ProjectSpec", "backends"),
        ("ProjectSpec", "cache"),
        ("Rule", "bandit"),
        ("Rule", "ensemble"),
        ("Rule", "cascade"),
        ("Variant", "backend"),
        ("Variant", "requires"),
    }
)
"""Keys whose engine comes later: parsed, then refused (`spec.pending`)."""
