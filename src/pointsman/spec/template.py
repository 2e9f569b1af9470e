"""The file `pointsman init` writes: small, commented, and sound as it stands."""

from typing import Final

from pointsman.domain.errors import Kind, PointsmanError
from pointsman.domain.names import NAME_PATTERN, is_name
from pointsman.spec.schema import FILE_NAME, modeline

_TEMPLATE: Final = """\
{modeline}
#
# Check it with `pointsman lint`, see what it would change with `pointsman plan`, then
# `pointsman apply`. Every key is explained in the reference, docs/reference/spec.md.
apiVersion: pointsman/v1
kind: Project
metadata:
  name: {name}                # the address clients call
  # owner: team@example.com
spec:
  # All classes, in the order of the probabilities you want back. In quotes where YAML would read
  # something else: "0", "1", "yes".
  classes: ["no", "yes"]
  positive: "yes"             # what thresholds and recall speak of

  # Who is assigned: the same customer always gets the same variant.
  unit: customer_id
  context:                    # attributes of a request that rules may read
    customer_id: string
    amount: double
    channel: {{type: string, default: web}}

  variants:
    # `champion` answers whenever nothing else may. Also: models:/NAME/3, runs:/RUN_ID/model.
    champion: {{model: "models:/{name}@champion"}}
    challenger: {{model: "models:/{name}@challenger"}}
    safe-default: {{constant: "no"}}    # a fallback that needs no model

  rules:                      # the first match decides; the last has no `when`
    - name: big-amounts
      when: 'request.amount > 10000.0'
      use: champion           # never experiment here
    - name: default
      split: {{champion: 90, challenger: 10}}
      fallback: [champion, safe-default]

  deadline: 150ms             # for a whole request, fallbacks included

  outcomes:
    label: {{horizon: 7d}}      # how long until a label can be trusted

  metrics:
    accuracy: {{kind: classifier, of: accuracy}}
    errors: {{kind: operational, event: error}}
    slow: {{kind: operational, event: "latency > 100ms"}}
"""


def starter(name: str, schema: str = f"./{FILE_NAME}") -> str:
    """A commented project file that lints clean.

    schema: URL or path of the JSON Schema, for the editor's modeline
    Raises PointsmanError(INVALID) where the name is none.
    """
    if not is_name(name):
        raise PointsmanError(
            Kind.INVALID, f"'{name}' is not a name", hint=f"a name matches {NAME_PATTERN}"
        )
    return _TEMPLATE.format(name=name, modeline=modeline(schema))
