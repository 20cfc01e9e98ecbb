"""Make the schemas beside this file from what their owners publish: without descriptions, and each
repeated part once.

  python make.py kuberay ray.io_rayclusters.yaml ray.io_rayjobs.yaml > kuberay-1.7.0.json
  python make.py compute compute.v1.json > compute-v1-instance.json
"""

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import yaml


def kuberay(*files: str) -> dict[str, Any]:
    """{kind: schema of its v1} of custom resource definitions, with $defs."""
    kinds = {}
    for file in files:
        definition = yaml.safe_load(Path(file).read_text())["spec"]
        version = next(v for v in definition["versions"] if v["name"] == "v1")
        kinds[definition["names"]["kind"]] = _plain(version["schema"]["openAPIV3Schema"])
    return _shared(kinds)


def compute(file: str) -> dict[str, Any]:
    """{name: {property: what it is}} of Compute Engine's Instance and what it is made of: the name
    of another, a list of one, a map, or a type."""
    document = json.loads(Path(file).read_text())["schemas"]
    schemas_by_kind: dict[str, Any] = {}
    waiting = ["Instance"]
    while waiting:
        name = waiting.pop()
        if name not in schemas_by_kind:
            properties = document[name].get("properties", {})
            schemas_by_kind[name] = {
                key: _kind(name, key, value) for key, value in properties.items()
            }
            for key, value in list(properties.items()):
                inner = value.get("items", value)
                if "$ref" in inner:
                    waiting.append(inner["$ref"])
                elif "properties" in inner:
                    document[f"{name}.{key}"] = inner
                    waiting.append(f"{name}.{key}")
    return dict(sorted(schemas_by_kind.items()))


def _kind(name: str, key: str, value: dict[str, Any]) -> Any:
    if value.get("type") == "array":
        return [_kind(name, key, value["items"])]
    if "properties" in value:
        return f"{name}.{key}"
    if "additionalProperties" in value:
        return "map"
    return value.get("$ref", value.get("type"))


def _plain(schema: Any) -> Any:
    """Without the descriptions; a property may be called description."""
    if isinstance(schema, list):
        return [_plain(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: {name: _plain(part) for name, part in value.items()}
        if key == "properties"
        else _plain(value)
        for key, value in schema.items()
        if not (key == "description" and isinstance(value, str))
    }


def _shared(kinds: dict[str, Any]) -> dict[str, Any]:
    """With each object that comes twice in $defs."""
    counts: Counter[str] = Counter()

    def count(schema: Any) -> None:
        parts = schema.values() if isinstance(schema, dict) else schema
        if isinstance(schema, dict) and "type" in schema:
            counts[_text(schema)] += 1
        for part in parts:
            if isinstance(part, dict | list):
                count(part)

    count(list(kinds.values()))
    often = sorted((t for t, n in counts.items() if n > 1 and len(t) > 120), key=len)
    names = {text: f"d{number}" for number, text in enumerate(often)}
    used: set[str] = set()

    def refer(schema: Any, top: bool = False) -> Any:
        if isinstance(schema, dict):
            name = None if top else names.get(_text(schema))
            if name is not None:
                used.add(name)
                return {"$ref": f"#/$defs/{name}"}
            return {key: refer(part) for key, part in schema.items()}
        return [refer(part) for part in schema] if isinstance(schema, list) else schema

    schemas_by_kind = {kind: refer(schema) for kind, schema in kinds.items()}
    shared: dict[str, Any] = {}
    while missing := sorted(used - set(shared)):
        for text, name in names.items():
            if name in missing:
                shared[name] = refer(json.loads(text), top=True)
    return {"$defs": shared, **schemas_by_kind}


def _text(schema: Any) -> str:
    return json.dumps(schema, sort_keys=True)


if __name__ == "__main__":
    made = {"kuberay": kuberay, "compute": compute}[sys.argv[1]](*sys.argv[2:])
    print(json.dumps(made, separators=(",", ":")))
