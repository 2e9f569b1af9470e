"""What all blocks of a spec have in common."""

from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Strict
from pydantic.alias_generators import to_camel

T = TypeVar("T")

Items = Annotated[tuple[T, ...], Strict(strict=False)]
"""A YAML list, held frozen. Only the container is lenient: its items stay strict."""


class Block(BaseModel):
    """A mapping of the spec: unknown keys are errors, types are not guessed, values are frozen.

    Keys are written in camelCase, attributes in snake_case.
    """

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        alias_generator=to_camel,
        allow_inf_nan=False,
    )
