"""Vectors: ``GET /v1/models`` and ``POST /v1/embeddings``, in the shape of OpenAI's interface."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from starlette.responses import Response

from indexer.errors import UsageError
from semsearch import render
from semsearch.nearest import check_names
from semsearch.service import models
from semsearch.service.routes import schemas
from semsearch.service.routes.route import Route, answer, body_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request

    from indexer.embedding.encoder import Encoder, Vectors
    from indexer.embedding.spec import Role
    from semsearch.service.routes.route import Schema
    from semsearch.service.service import Service

FIELDS = ("model", "input", "role", "encoding_format", "dimensions", "user")
FORMATS = ("float", "base64")


@dataclass(frozen=True)
class Wanted:
    """A request for vectors, checked as far as it can be without its model."""

    model: str
    texts: Sequence[str] | None
    """None where token ids were given."""
    ids: Sequence[Sequence[int]]
    role: Role | None
    base64: bool
    dimensions: int | None

    @classmethod
    def of(cls, body: dict[str, Any], most: int) -> Wanted:
        """Return what a body asks for.

        Args:
            body: As OpenAI's interface has it, with ``role`` beside.
            most: Texts of one request.

        Raises:
            UsageError: A value cannot be meant.
        """
        check_names(body, FIELDS, "field")
        model, role, dimensions = body.get("model"), body.get("role"), body.get("dimensions")
        if not isinstance(model, str) or not model:
            raise UsageError(f"model is {model!r}; it is the name of one, see GET /v1/models")
        if role is not None and role not in models.ROLES:
            raise UsageError(f"role is {role!r}; it is one of {', '.join(models.ROLES)}")
        form = body.get("encoding_format") or "float"
        if form not in FORMATS:
            raise UsageError(f"encoding_format is {form!r}; it is one of {', '.join(FORMATS)}")
        if dimensions is not None and (type(dimensions) is not int or dimensions < 1):
            raise UsageError(f"dimensions is {dimensions!r}; it is a whole number from 1 up")
        given = body.get("input")
        if isinstance(given, str) or _are_ids(given):
            given = [given]
        if not isinstance(given, list) or not given:
            raise UsageError(
                "input is a text, a list of texts, a list of token ids, or a list of such lists; not empty"
            )
        if len(given) > most:
            raise UsageError(f"input has {len(given)} texts; one request has at most {most}")
        if all(isinstance(each, str) for each in given):
            return cls(model, given, (), role, form == "base64", dimensions)
        if all(_are_ids(each) for each in given):
            return cls(model, None, given, role, form == "base64", dimensions)
        raise UsageError("input has neither texts alone nor lists of token ids alone, none of them empty")


def _are_ids(value: object) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(type(each) is int and each >= 0 for each in value)


async def embeddings(service: Service, request: Request) -> Response:
    """Give the vector of each text."""
    wanted = Wanted.of(await body_of(request), service.limits.texts)

    def work() -> bytes:  # written in the thread too: many numbers are much text
        model, encoder, of_name = models.encoder(service.collections, wanted.model)
        return _answer(wanted, model.name, encoder, of_name).encode()

    return Response(await service.run(work), media_type="application/json")


def _answer(wanted: Wanted, name: str, encoder: Encoder, of_name: Role | None) -> str:
    if wanted.role and of_name and wanted.role != of_name:
        raise UsageError(f"role is {wanted.role!r} and the model's name says {of_name!r}; say one of them")
    if wanted.dimensions not in (None, encoder.dim):
        raise UsageError(f"dimensions is {wanted.dimensions}; the vectors of {name} have {encoder.dim}, leave it out")
    texts = encoder.texts_of(wanted.ids) if wanted.texts is None else wanted.texts
    vectors = encoder.encode(texts, wanted.role or of_name or "passage")
    tokens = int(np.minimum(encoder.count_tokens(texts), encoder.spec.max_tokens).sum())
    written = _in_base64(vectors) if wanted.base64 else _in_numbers(vectors)
    data = ", ".join(f'{{"object": "embedding", "index": {i}, "embedding": {each}}}' for i, each in enumerate(written))
    more = {
        "model": name,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        "fingerprint": encoder.spec.fingerprint,
    }
    return f'{{"object": "list", "data": [{data}], {render.dump(more)[1:]}'


def _in_numbers(vectors: Vectors) -> list[str]:
    """Return each vector (d,) of (n, d) as JSON's list of numbers, with nine digits each.

    They say which float32 it is, as seventeen would, and are written and read four times as fast.
    """
    form = "[" + ", ".join(["%#.9g"] * vectors.shape[1]) + "]"
    return [form % tuple(each) for each in vectors.tolist()]


def _in_base64(vectors: Vectors) -> list[str]:
    """Return each vector (d,) of (n, d) as JSON's text: the bytes of its little-endian float32 in base64."""
    return [f'"{base64.b64encode(each.tobytes()).decode()}"' for each in vectors.astype("<f4")]


async def listed(service: Service, request: Request) -> Response:
    """List the encoders of the collections."""
    del request
    found = await service.run(lambda: models.models(service.collections))
    data = [
        {
            "id": model.name,
            "object": "model",
            "created": 0,
            "owned_by": "semsearch",
            "fingerprint": model.fingerprint,
            "dimensions": model.dim,
            "max_tokens": model.max_tokens,
            "collections": list(model.collections),
        }
        for model in found
    ]
    return answer({"object": "list", "data": data})


IDS: Schema = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}
WANTED = schemas.object_of(
    {
        "model": {"type": "string", "description": "A model's id; with :query or :passage behind it for that role"},
        "input": {
            "description": "A text, texts, token ids of a text, or of several",
            "anyOf": [schemas.TEXT, schemas.TEXTS, IDS, schemas.list_of(IDS)],
        },
        "role": {"type": "string", "enum": list(models.ROLES), "default": "passage"},
        "encoding_format": {"type": "string", "enum": list(FORMATS), "default": "float"},
        "dimensions": {"type": "integer", "description": "Refused unless the vectors have as many"},
        "user": schemas.TEXT,
    },
    ("model", "input"),
)
EMBEDDING = schemas.object_of(
    {
        "object": schemas.TEXT,
        "index": {"type": "integer"},
        "embedding": {"anyOf": [schemas.list_of(schemas.NUMBER), schemas.TEXT]},
    }
)
USAGE = schemas.object_of({"prompt_tokens": {"type": "integer"}, "total_tokens": {"type": "integer"}})
EMBEDDINGS = schemas.object_of(
    {
        "object": schemas.TEXT,
        "data": schemas.list_of(EMBEDDING),
        "model": schemas.TEXT,
        "usage": USAGE,
        "fingerprint": schemas.TEXT,
    }
)
MODEL = schemas.object_of(
    {
        "id": schemas.TEXT,
        "object": schemas.TEXT,
        "created": {"type": "integer"},
        "owned_by": schemas.TEXT,
        "fingerprint": schemas.TEXT,
        "dimensions": {"type": "integer"},
        "max_tokens": {"type": "integer"},
        "collections": schemas.TEXTS,
    }
)
MODELS = schemas.object_of({"object": schemas.TEXT, "data": schemas.list_of(MODEL)})

ROUTES = (
    Route("GET", "/v1/models", "Which encoders there are", listed, MODELS),
    Route("POST", "/v1/embeddings", "Vectors of texts", embeddings, EMBEDDINGS, WANTED),
)
