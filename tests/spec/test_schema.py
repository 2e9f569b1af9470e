"""The exported JSON Schema and the reference say what the code says."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from pointsman.domain.errors import PointsmanError
from pointsman.spec import described, schema
from pointsman.spec.load import load_text
from pointsman.spec.pending import LATER
from pointsman.spec.template import starter

ROOT = Path(__file__).parents[2]
DEFS = schema.json_schema()["$defs"]


def test_the_exported_file_is_the_code_s_own_schema() -> None:
    """After a change on purpose:

    python -c "from pointsman.spec import schema; print(schema.text(), end='')" \
        > docs/schema/project.schema.json
    """
    exported = ROOT / "docs" / "schema" / schema.FILE_NAME

    assert exported.read_text(encoding="utf-8") == schema.text()


def test_every_key_is_described_and_nothing_else_is() -> None:
    """Editors show a sentence for each key; a key that is gone takes its sentence with it."""
    known = {
        (block, key)
        for block, body in {"Project": schema.json_schema(), **DEFS}.items()
        for key in body.get("properties", {})
    }
    known |= {("Features", key) for key in ("from", "declared")}
    described_keys = {(block, key) for block, keys in described.KEYS.items() for key in keys}

    # `Feature` is the short form of `DeclaredFeature`, made by the schema alone.
    assert described_keys == {(block, key) for block, key in known if block != "Feature"}


def test_the_schema_holds_no_nulls_and_no_dangling_references() -> None:
    """An empty value is an error, so no key may offer null."""
    text = schema.text()

    assert '"null"' not in text
    for name in re.findall(r'"\$ref": "#/\$defs/(\w+)"', text):
        assert name in DEFS


def test_keys_said_to_come_later_are_exactly_those_that_are_refused() -> None:
    """The design's full example uses every block; what it is refused for is what editors mark."""
    refused = set()
    extra = {
        "bandit": "{arms: [champion, night], policy: thompson, reward: label}",
        "ensemble": "{members: [champion, night]}",
        "cascade": "[{use: night}]",
    }
    full = (Path(__file__).parent / "full.yaml").read_text(encoding="utf-8")
    documents = [full] + [
        full.replace("      use: champion                      #", f"      {key}: {value}  #")
        for key, value in extra.items()
    ]
    for document in documents:
        with pytest.raises(PointsmanError) as caught:
            load_text(document)
        assert all(violation.message.endswith(LATER) for violation in caught.value.violations)
        refused |= {v.path.rpartition(".")[2] for v in caught.value.violations}

    assert refused == {key for _, key in described.LATER_KEYS}


def test_the_reference_explains_every_key_in_the_words_of_the_schema() -> None:
    """docs/reference/spec.md has a row for each key, with its sentence."""
    reference = (ROOT / "docs" / "reference" / "spec.md").read_text(encoding="utf-8")
    # `declared` is what the list form of `features` is called inside; nobody writes it.
    missing = [
        f"{block}.{key}"
        for block, keys in described.KEYS.items()
        for key, sentence in keys.items()
        if (block, key) != ("Features", "declared")
        and (f"| `{key}` |" not in reference or sentence.replace("|", "\\|") not in reference)
    ]

    assert missing == []


def test_the_yaml_in_the_reference_is_sound() -> None:
    """Each complete example of the reference can be applied as it stands."""
    reference = (ROOT / "docs" / "reference" / "spec.md").read_text(encoding="utf-8")
    examples = [
        block
        for block in re.findall(r"```yaml\n(.*?)```", reference, re.DOTALL)
        if "apiVersion" in block
    ]

    assert starter("churn", f"../schema/{schema.FILE_NAME}") in examples
    assert len(examples) >= 2
    for example in examples:
        assert load_text(example)


def test_the_starter_is_sound_and_tells_editors_where_the_schema_is() -> None:
    """`pointsman init` writes a file that lints clean, with the modeline on its first line."""
    text = starter("my-project")
    (project,) = load_text(text)

    assert project.name == "my-project"
    assert text.startswith("# yaml-language-server: $schema=./project.schema.json\n")
    assert starter("x", "https://example.com/s.json").startswith(
        "# yaml-language-server: $schema=https://example.com/s.json\n"
    )


def test_a_starter_needs_a_name() -> None:
    with pytest.raises(PointsmanError, match="'My Project' is not a name"):
        starter("My Project")


@pytest.mark.parametrize(
    ("block", "key", "default"),
    [
        ("ProjectSpec", "deadline", "1s"),
        ("Retention", "hot", "14d"),
        ("Retention", "maxBytes", "10GB"),
        ("Rule", "holdout", 0),
        ("Shadow", "percent", 100),
        ("Log", "durability", "os"),
        ("Metadata", "tenant", "default"),
    ],
)
def test_defaults_are_shown_as_a_user_would_write_them(block: str, key: str, default: Any) -> None:
    assert default == DEFS[block]["properties"][key]["default"]
    assert json.loads(schema.text())["$defs"][block]["properties"][key]["default"] == default
