"""Every malformed document gets its whole answer: each problem, its place, and what to do.

The scenarios are the text files beside this one: a title, a document, `----`, the answer; they are
parted by `====`. A document that begins with `spec:` stands below three lines that are always the
same, so its first line is line 4. After a change on purpose, rewrite the answers and read the
difference:

    python tests/spec/test_malformed.py
"""

from pathlib import Path
from typing import NamedTuple

import pytest

from pointsman.domain.errors import PointsmanError
from pointsman.spec.load import load_text

DIRECTORY = Path(__file__).parent / "malformed"
HEAD = "apiVersion: pointsman/v1\nkind: Project\nmetadata: {name: x}\n"


class Scenario(NamedTuple):
    title: str
    text: str
    answer: str

    @property
    def document(self) -> str:
        return HEAD + self.text if self.text.startswith("spec:") else self.text


def read(file: Path) -> list[Scenario]:
    return [_scenario(part) for part in file.read_text(encoding="utf-8").split("\n====\n")]


def _scenario(part: str) -> Scenario:
    title, _, rest = part.strip("\n").partition("\n")
    text, _, answer = rest.partition("\n----\n")
    return Scenario(title.removeprefix("# "), text, answer.rstrip("\n"))


def answer_to(document: str) -> str:
    try:
        load_text(document, "f.yaml")
    except PointsmanError as error:
        head = f"{error.kind.value}: {error.message}"
        return "\n".join([head, *(str(violation) for violation in error.violations)])
    return "ok"


SCENARIOS = [
    pytest.param(scenario, id=f"{file.stem}: {scenario.title}")
    for file in sorted(DIRECTORY.glob("*.txt"))
    for scenario in read(file)
]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_malformed_document_gets_its_whole_answer(scenario: Scenario) -> None:
    assert scenario.answer == answer_to(scenario.document)


def test_there_are_enough_scenarios() -> None:
    """The table covers the language: at least 60 malformed documents, none of which passes."""
    assert len(SCENARIOS) >= 60
    assert not [case.id for case in SCENARIOS if case.values[0].answer == "ok"]


if __name__ == "__main__":
    for path in sorted(DIRECTORY.glob("*.txt")):
        path.write_text(
            "\n====\n".join(
                f"# {one.title}\n{one.text}\n----\n{answer_to(one.document)}" for one in read(path)
            )
            + "\n",
            encoding="utf-8",
        )
