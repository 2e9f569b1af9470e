"""The language as JSON Schema, for editors and other tools.

It says what `spec.models` says, in the form users write: short forms included, no nulls. Rules that
take two places of a document are beyond it; `pointsman lint` has the last word.
"""

import json
from typing import Any, Final

from pointsman.domain.table import AttributeType, FeatureType
from pointsman.spec.described import KEYS, LATER_KEYS, LATER_NOTE
from pointsman.spec.models import Project
from pointsman.spec.scalars import (
    DURATION_PATTERN,
    SIZE_PATTERN,
    format_duration,
    format_size,
)

FILE_NAME: Final = "project.schema.json"
"""What the exported file is called; generated specs name it beside them."""

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """The schema of one document, as plain JSON values."""
    schema = Project.model_json_schema(by_alias=True)
    blocks = schema.pop("$defs")
    schema = {"$schema": _DIALECT, "title": "Pointsman project"} | _block("Project", schema)
    schema["$defs"] = {name: _block(name, block) for name, block in sorted(blocks.items())}
    _short_forms(schema["$defs"])
    return schema


def text() -> str:
    """The schema as the file `docs/schema/project.schema.json` holds it."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def modeline(schema: str) -> str:
    """The comment by which editors find the schema. schema: URL, or path beside the file"""
    return f"# yaml-language-server: $schema={schema}"


def _block(name: str, block: dict[str, Any]) -> dict[str, Any]:
    block = {key: value for key, value in block.items() if key != "title"}
    if "description" in block:
        block["description"] = " ".join(block["description"].split())
    required = set(block.get("required", ()))
    for key, node in block.get("properties", {}).items():
        cleaned = _node(node)
        description = KEYS[name][key]
        if (name, key) in LATER_KEYS:
            description = f"{LATER_NOTE} {description}"
            cleaned.pop("default", None)
        if key in required:
            cleaned.pop("default", None)
        block["properties"][key] = {"description": description} | cleaned
    return block


def _node(node: Any) -> Any:
    """One schema without what pydantic says for others: titles, nulls, markers of unions."""
    if isinstance(node, list):
        return [_node(entry) for entry in node]
    if not isinstance(node, dict):
        return node
    node = {k: v for k, v in node.items() if k not in {"title", "discriminator", "default"}} | (
        _default(node)
    )
    options = [option for option in node.get("anyOf", ()) if option != {"type": "null"}]
    if len(options) == 1:
        node = {k: v for k, v in node.items() if k != "anyOf"} | options[0]
    elif options:
        node["anyOf"] = options
    if "patternProperties" in node:
        node["additionalProperties"] = False
        for words in ("max", "min"):
            if f"{words}Length" in node:
                node[f"{words}Properties"] = node.pop(f"{words}Length")
    return {key: value if key == "default" else _node(value) for key, value in node.items()}


def _default(node: dict[str, Any]) -> dict[str, Any]:
    """The default as a user would write it; none where it only says that nothing is there."""
    default = node.get("default")
    if default is None or isinstance(default, dict | list):
        return {}
    if isinstance(default, int) and node.get("pattern") == DURATION_PATTERN:
        return {"default": format_duration(default)}
    if isinstance(default, int) and node.get("pattern") == SIZE_PATTERN:
        return {"default": format_size(default)}
    if isinstance(default, str) and default.isdigit():
        return {"default": int(default)}
    return {"default": default}


def _short_forms(blocks: dict[str, Any]) -> None:
    """Adds what validators accept besides the long form."""
    context = blocks["ProjectSpec"]["properties"]["context"]["patternProperties"]
    for pattern in context:
        types = [kind.value for kind in AttributeType]
        context[pattern] = _or_type(types, "#/$defs/ContextAttribute")
    declared = blocks["DeclaredFeature"]
    entry = {
        "type": "object",
        "additionalProperties": False,
        "properties": {k: v for k, v in declared["properties"].items() if k != "name"},
        "required": ["type"],
    }
    blocks["Feature"] = entry
    features = blocks["Features"]
    blocks["Features"] = {
        "description": features["description"],
        "anyOf": [
            {
                "type": "object",
                "additionalProperties": False,
                "properties": {"from": features["properties"]["from"]},
                "required": ["from"],
            },
            {
                "type": "object",
                "not": {"required": ["from"]},
                "additionalProperties": _or_type(
                    [kind.value for kind in FeatureType], "#/$defs/Feature"
                ),
                "minProperties": 1,
            },
            {"type": "array", "items": {"$ref": "#/$defs/DeclaredFeature"}, "minItems": 1},
        ],
    }


def _or_type(types: list[str], long_form: str) -> dict[str, Any]:
    return {"anyOf": [{"type": "string", "enum": types}, {"$ref": long_form}]}
