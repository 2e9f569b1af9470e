"""The block `quality`: what is expected of features, and what is done about rows that differ."""

from typing import Annotated

from pydantic import Field, StringConstraints

from pointsman.domain.quality import Answer
from pointsman.spec.block import Block, Items
from pointsman.spec.scalars import Scalar, Sorted

FeatureName = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Bound = Annotated[float, Field(ge=-1e300, le=1e300)]


class Expected(Block):
    """What is expected of one feature, and its own answers; those left out are the block's.

    range: lowest and highest value; values: all there are
    value: what stands in where the answer is `impute`
    """

    range: Annotated[Items[Bound], Field(min_length=2, max_length=2)] | None = None
    values: Annotated[Items[Scalar], Field(min_length=1, max_length=1000)] | None = None
    value: Scalar | None = None
    on_missing: Answer | None = None
    on_type: Answer | None = None
    on_range: Answer | None = None
    on_unseen: Answer | None = None


class Quality(Block):
    """The answer to each problem a row can have, and what is expected of features, by name."""

    on_missing: Answer = "reject"
    on_extra: Answer = "reject"
    on_type: Answer = "reject"
    on_range: Answer = "warn"
    on_unseen: Answer = "warn"
    on_all_null: Answer = "warn"
    features: Annotated[dict[FeatureName, Expected], Sorted, Field(max_length=1000)] = Field(
        default={}
    )
