"""A controller with decisions that carry features and scores; time, models and the registry are not
real."""

import math
from random import Random

import msgspec
from tests.controller.rollout_world import DAY, MINUTE, NAME, NOON, World

from pointsman.controller.drifting import Drifts, Teller
from pointsman.domain.records import DecisionRecord, OutcomeRecord
from pointsman.journal.codec import encode_record
from pointsman.store import audit
from pointsman.store.database import reader

FILE = """
apiVersion: pointsman/v1
kind: Project
metadata: {name: loan}
spec:
  classes: [ok, fraud]
  positive: fraud
  unit: account
  context: {account: string}
  features:
    - {name: amount, type: double}
    - {name: country, type: string}
    - {name: age, type: long, required: false}
  variants:
    champion: {model: "models:/loan@champion", onAliasMove: follow}
  drift: {reference: 1000}
"""


class LoggedWorld(World):
    """Decisions with their features and scores, of units that may come back."""

    def __init__(self, root, text=FILE, began_ms=NOON):
        super().__init__(root, text, began_ms)
        self.drifts = Drifts(self.ledger, self.projects)
        self.teller = Teller(self.ledger, self.drifts)

    def log(
        self, n, *, richer=1.0, country="DE", missing=0.0, units=None, honest=True, label=False
    ):
        """That many decisions, spread over half an hour.

        richer: factor of all amounts; missing: chance that the age is; units: how many there are
        honest: labels come true with the chance the score says; else with the square of it
        """
        revision = self.projects.current(NAME)
        version = self.version("champion")
        records = []
        for at in range(n):
            self.made += 1
            unit = self.made if units is None else self.draw.randrange(units)
            draw = Random(unit)  # a unit is always the same
            score = draw.betavariate(1.2, 3.0)
            row = {
                "amount": richer * math.exp(draw.gauss(3.0, 1.0)),
                "country": country if draw.random() < 0.5 else "DE",
                "age": None if draw.random() < missing else draw.randrange(18, 80),
            }
            records.append(
                DecisionRecord(
                    id=f"d-{self.made}",
                    at_ms=self.clock.ms + at * 30 * MINUTE // n,
                    project=NAME,
                    digest=revision.table_digest,
                    table=revision.number,
                    request_id="",
                    unit=f"u-{unit}",
                    bucket=-1,
                    unit_hash=(unit * 0x9E3779B97F4A7C15) % (1 << 64),
                    context={"account": f"u-{unit}"},
                    rule="default",
                    epoch=1,
                    assigned="champion",
                    served="champion",
                    version=version,
                    reason="RULE",
                    served_reason="RULE",
                    propensity=1.0,
                    propensities=(("champion", 1.0),),
                    probabilities=(1.0 - score, score),
                    predicted="fraud" if score >= 0.5 else "ok",
                    action="allow",
                    latency_us=2_000,
                    cost=0.0,
                    features=msgspec.json.encode(row),
                )
            )
        labels = []
        for record in records if label else ():
            score = record.probabilities[1]
            true = self.draw.random() < (score if honest else 1.0 - score)
            said, at = "fraud" if true else "ok", self.clock.ms + 30 * MINUTE
            name = f"o-{record.id}"
            labels.append(OutcomeRecord(name, record.id, "label", said, at, at, "default"))
        self.writer.append([encode_record(record) for record in [*records, *labels]])
        self.ingest()

    def day(self, n=400, **how):
        """A day of decisions; people are told of the days before it."""
        self.teller.turn()
        self.log(n, **how)
        self.pass_time(DAY)

    def warned(self):
        with reader(self.engine).connect() as connection:
            found = audit.entries(connection, target=NAME, limit=100)
        return [entry.sentence for entry in reversed(found) if entry.action == "drift"]
