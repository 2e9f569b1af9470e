"""Loading: from files and texts to checked projects."""

from pathlib import Path

import pytest

from pointsman.domain.errors import Kind, PointsmanError
from pointsman.domain.table import AttributeType, FeatureType
from pointsman.spec import source
from pointsman.spec.load import load_path, load_text

SMALLEST = """\
apiVersion: pointsman/v1
kind: Project
metadata: {name: income}
spec:
  classes: ["<=50K", ">50K"]
  variants:
    champion: {model: "models:/income@champion"}
"""


def refusal(text: str) -> PointsmanError:
    with pytest.raises(PointsmanError) as caught:
        load_text(text, "f.yaml")
    return caught.value


def test_the_smallest_project_sends_everything_to_the_champion() -> None:
    """Five keys are a project: the defaults are those of the reference."""
    (project,) = load_text(SMALLEST)
    spec = project.spec

    assert (project.tenant, project.name) == ("default", "income")
    assert [(r.name, r.when, r.use) for r in spec.rules] == [("default", None, "champion")]
    assert spec.positive_class == ">50K"
    assert spec.features_from == "models:/income@champion"
    assert spec.declared_features is None
    assert (
        spec.deadline,
        spec.log.durability,
        spec.log.on_failure,
    ) == (1_000, "os", "serve_fallback_unlogged")
    assert (spec.retention.hot, spec.retention.max_bytes) == (14 * 86_400_000, 10**10)
    assert spec.on_alias_move("champion") == "follow"


def test_the_design_example_is_refused_exactly_for_what_is_not_available_yet() -> None:
    """Blocks whose engine comes later parse in full, and nothing else of the example is wrong."""
    error = refusal((Path(__file__).parent / "full.yaml").read_text(encoding="utf-8"))

    assert error.kind is Kind.NOT_AVAILABLE_YET
    assert [violation.path for violation in error.violations] == [
        "spec.variants.challenger.requires",
        "spec.variants.night.backend",
        "spec.backends",
        "spec.cache",
    ]


def test_one_problem_of_another_kind_makes_the_answer_invalid() -> None:
    """`not available yet` means that the file is otherwise sound."""
    error = refusal(SMALLEST + "  cache: {ttl: 30s}\n  deadline: 2m\n")

    assert error.kind is Kind.INVALID
    assert [violation.path for violation in error.violations] == ["spec.cache", "spec.deadline"]


def test_json_is_read_like_yaml() -> None:
    text = (
        '{"apiVersion": "pointsman/v1", "kind": "Project", "metadata": {"name": "income"},\n'
        ' "spec": {"classes": ["<=50K", ">50K"],\n'
        '  "variants": {"champion": {"model": "models:/income@champion"}}}}'
    )

    assert load_text(SMALLEST) == load_text(text)


def test_documents_come_back_in_order_and_empty_ones_do_not_count() -> None:
    second = SMALLEST.replace("income}", "fraud}")
    text = f"# first\n---\n{SMALLEST}---\n# nothing\n---\n{second}...\n"

    assert [project.name for project in load_text(text)] == ["income", "fraud"]


def test_short_forms_mean_the_same_as_long_ones() -> None:
    """`amount: double` is `amount: {type: double}`; features keep their order."""
    (project,) = load_text(
        SMALLEST
        + """\
  context: {b: {type: bool, default: false}, amount: double, ratio: {type: double, default: 1}}
  features: {z: string, a: {type: long, required: false}}
"""
    )
    features = project.spec.declared_features
    assert features is not None

    assert [(a.name, a.type, a.required, a.default) for a in project.spec.attributes] == [
        ("amount", AttributeType.DOUBLE, True, None),
        ("b", AttributeType.BOOL, False, False),
        ("ratio", AttributeType.DOUBLE, False, 1.0),
    ]
    assert isinstance(project.spec.attributes[2].default, float)
    assert [(feature.name, feature.type, feature.required) for feature in features] == [
        ("z", FeatureType.STRING, True),
        ("a", FeatureType.LONG, False),
    ]


def test_a_variant_takes_from_the_default_decision_what_it_leaves_out() -> None:
    (project,) = load_text(
        SMALLEST.replace(
            "    champion:",
            """\
    own: {model: "models:/income/2", decision: {threshold: 0.7}}
    none: {model: "models:/income/3", decision: {deny: []}}
    champion:""",
        )
        + '  decision: {threshold: 0.4, deny: ["<=50K"]}\n'
    )
    decisions = {name: project.spec.decision_of(name) for name in project.spec.variants}

    assert (decisions["champion"].threshold, decisions["champion"].deny) == (0.4, ("<=50K",))
    assert (decisions["own"].threshold, decisions["own"].deny) == (0.7, ("<=50K",))
    assert (decisions["none"].threshold, decisions["none"].deny) == (0.4, ())


def test_an_alias_shares_a_whole_value() -> None:
    (project,) = load_text(
        SMALLEST.replace("champion: {", "champion: &same {") + "    copy: *same\n"
    )

    assert project.spec.variants["copy"] == project.spec.variants["champion"]


def test_a_directory_is_read_as_a_whole_with_all_problems_of_all_files(tmp_path: Path) -> None:
    """Also two files that declare the same project."""
    (tmp_path / "a.yaml").write_text(SMALLEST)
    (tmp_path / "b.yml").write_text(SMALLEST)
    (tmp_path / "notes.txt").write_text("not a spec")
    deeper = tmp_path / "deeper"
    deeper.mkdir()
    (deeper / "c.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(PointsmanError) as caught:
        load_path(tmp_path)

    assert [
        f"{deeper}/c.yaml:1:1: is not UTF-8 (byte 0)\n  hint: save it as UTF-8",
        (
            f"{tmp_path}/b.yml:3:18: metadata.name: the project 'default/income' is declared twice"
            f"\n  hint: the first one is at {tmp_path}/a.yaml:3; rename or remove one"
        ),
    ] == [str(violation) for violation in caught.value.violations]
    assert caught.value.message == "2 problems in 2 files"


def test_a_missing_file_and_an_empty_directory_are_not_found(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(PointsmanError) as caught:
            load_path(path)

        assert caught.value.kind is Kind.NOT_FOUND


def test_a_file_over_the_limit_is_refused_unread(tmp_path: Path) -> None:
    big = "# " + "x" * source.MAX_BYTES
    (tmp_path / "big.yaml").write_text(big)
    with pytest.raises(PointsmanError) as caught:
        load_path(tmp_path / "big.yaml")

    answer = "is larger than 256 KiB\n  hint: one file a project is enough"
    assert [answer] == [str(v).partition(": ")[2] for v in caught.value.violations]
    assert [f"f.yaml:1:1: {answer}"] == [str(v) for v in refusal(big).violations]


def test_too_many_values_are_refused_before_they_are_built() -> None:
    error = refusal("a: [" + "1, " * (source.MAX_NODES + 1) + "]")

    assert [v.message for v in error.violations] == ["has more than 20,000 values"]


@pytest.mark.parametrize(("character", "shown"), [("\x01", "U+0001"), ("\ud800", "U+D800")])
def test_a_character_yaml_has_no_place_for_is_named(character: str, shown: str) -> None:
    error = refusal(SMALLEST + f"  unit: a{character}b\n")

    assert [
        (
            f"f.yaml:8:10: the character {shown} is not allowed in YAML\n"
            "  hint: remove it, or write it as an escape in double quotes"
        )
    ] == [str(violation) for violation in error.violations]


def test_a_byte_order_mark_and_carriage_returns_do_no_harm() -> None:
    assert load_text(SMALLEST) == load_text("\ufeff" + SMALLEST.replace("\n", "\r\n"))


def test_the_example_projects_are_sound() -> None:
    """Whatever stands under examples/ can be applied."""
    examples = Path(__file__).parents[2] / "examples"
    files = sorted(examples.rglob("project.yaml"))

    assert files
    for file in files:
        assert load_path(file)
