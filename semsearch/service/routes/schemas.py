"""JSON Schemas of what is asked and answered, made of the values' own fields."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any

from semsearch.search.asking import filter_expressions
from semsearch.search.asking.request import FUSIONS, MODES, SearchRequest, SimilarRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from semsearch.service.routes.route import Schema

TEXT: Schema = {"type": "string"}
WHOLE: Schema = {"type": "integer", "minimum": 1}
NUMBER: Schema = {"type": "number"}
FLAG: Schema = {"type": "boolean"}
TEXTS: Schema = {"type": "array", "items": TEXT}
COLLECTION: Schema = {"type": "string", "description": "Name of the collection; left out: the default"}

_OPTIONS: Mapping[str, Schema] = {
    "k": {**WHOLE, "description": "Most hits"},
    "filter": {"type": "array", "items": TEXT, "description": f"Only {filter_expressions.HELP}"},
    "per_document": {**WHOLE, "description": "Most hits from one document"},
    "collapse": {**FLAG, "description": "Fold near-duplicates of a better hit into it"},
    "explain": {**FLAG, "description": "Say why each hit was found; this takes a model longer"},
    "min_confidence": {
        "type": "number",
        "minimum": 0,
        "maximum": 1,
        "description": "Leave out hits that are less like the query than this share of random pairs of passages is to "
        "each other; 0.99 leaves what is relevant",
    },
    "snippets": {**FLAG, "description": "Mark the query's words and the most telling sentence"},
    "query": {
        "type": "string",
        "description": 'Any text; "double quotes" make a phrase, begin* is any word so begun',
    },
    "mode": {
        "type": "string",
        "enum": list(MODES),
        "description": "By meaning and words (hybrid), meaning (dense), words (lexical) or a model's terms (sparse)",
    },
    "fusion": {"type": "string", "enum": list(FUSIONS), "description": "How hybrid brings its rankings together"},
    "rerank": {"type": "string", "description": "The cross-encoder that the server was started with"},
    "place": {"type": "string", "description": "PATH, PATH:LINE or the id of a hit's passage"},
    "itself": {**FLAG, "description": "Find passages of the same file or record too"},
}


def object_of(properties: Mapping[str, Schema], required: tuple[str, ...] | None = None) -> dict[str, Any]:
    """Return the schema of an object without other fields; ``required`` None: all of them are."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties if required is None else required),
        "additionalProperties": False,
    }


def list_of(item: Schema) -> dict[str, Any]:
    """Return the schema of a list."""
    return {"type": "array", "items": dict(item)}


def optional(schema: Schema) -> dict[str, Any]:
    """Return the schema of a value that may be null."""
    return {**schema, "type": [schema["type"], "null"]}


def request_of(kind: type[SearchRequest] | type[SimilarRequest]) -> dict[str, Any]:
    """Return the schema of a request's body: the fields of the value that it becomes, and the collection."""
    own = [each for each in fields(kind) if each.name != "_"]
    properties: dict[str, Schema] = {"collection": COLLECTION}
    for each in own:
        default = {} if each.default is MISSING or each.default is None else {"default": each.default}
        properties[each.name] = {**_OPTIONS[each.name], **default}
    return object_of(properties, tuple(each.name for each in own if each.default is MISSING))


SEARCH = request_of(SearchRequest)
SIMILAR = request_of(SimilarRequest)

SPAN: Schema = {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2}
DUPLICATE = object_of(
    {
        "path": TEXT,
        "line_start": {"type": "integer"},
        "line_end": {"type": "integer"},
        "page": {"type": ["integer", "null"]},
        "document": optional(TEXT),
        "passage": {"type": "integer"},
        "kind": TEXT,
        "difference": optional(TEXT),
    }
)
HIT = object_of(
    {
        "rank": WHOLE,
        "score": NUMBER,
        "path": TEXT,
        "line_start": {"type": "integer"},
        "line_end": {"type": "integer"},
        "page": {"type": ["integer", "null"]},
        "text": TEXT,
        "document": optional(TEXT),
        "passage": {"type": "integer"},
        "title": optional(TEXT),
        "kind": TEXT,
        "fields": {"type": "object", "additionalProperties": TEXT},
        "highlight": optional(SPAN),
        "matches": list_of(SPAN),
        "duplicates": list_of(DUPLICATE),
        "explanation": {"type": ["object", "null"]},
        "heading": optional(TEXT),
    }
)
ANSWER = object_of(
    {
        "hits": list_of(HIT),
        "notes": TEXTS,
        "collection": TEXT,
        "generation": {"type": "integer"},
        "version": TEXT,
        "fingerprint": TEXT,
    }
)
ERROR = object_of({"error": object_of({"kind": TEXT, "message": TEXT, "exit_code": {"type": "integer"}})})
HEALTH = object_of({"status": {"type": "string", "enum": ["ready", "starting"]}, "version": TEXT, "pid": WHOLE})
