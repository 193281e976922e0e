import inspect
from dataclasses import fields

import pytest

from indexer.errors import UsageError
from indexer.types import Filter
from semsearch.collection import Collection
from semsearch.search.asking.request import SearchRequest, SimilarRequest


def test_a_request_is_text_with_defaults():
    request = SearchRequest("how are vectors stored?")
    assert (request.k, request.mode, request.fusion, request.condition) == (10, "hybrid", "convex", None)
    assert request == SearchRequest("how are vectors stored?")
    assert len({request, SearchRequest("how are vectors stored?")}) == 1


def test_filter_expressions_become_a_filter():
    wanted = Filter(kinds=("md",), fields=(("author", "Ada"),))
    assert SearchRequest("x", filter=["type=md", "author=Ada"]).condition == wanted
    assert SearchRequest("x", filter="type=md").condition == Filter(kinds=("md",))
    assert SearchRequest("x", filter=wanted).condition is wanted
    assert SearchRequest("x", filter=[]).condition is None


def test_a_query_holds_nothing_that_no_tokenizer_takes():
    assert SearchRequest("a\0b \udce9").query == "a b \ufffd"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"query": " \0\n"}, "query is empty"),
        ({"query": 3}, "it is text"),
        ({"k": 0}, "k is 0"),
        ({"k": 10**20}, "k is 100000000000000000000; it is a whole number from 1 to 2147483647"),
        ({"k": True}, "k is True"),
        ({"k": 2.5}, "k is 2.5; it is a whole number"),
        ({"k": "5"}, "k is '5'"),
        ({"mode": "lexcial"}, "hybrid, dense, lexical, sparse.*did you mean 'lexical'"),
        ({"fusion": "convx"}, "convex, rrf.*did you mean 'convex'"),
        ({"per_document": -1}, "per_document is -1"),
        ({"collapse": "no"}, "collapse is 'no'; it is true or false"),
        ({"explain": 1}, "explain is 1"),
        ({"min_confidence": 2}, "from 0 to 1"),
        ({"min_confidence": "0.5"}, "from 0 to 1"),
        ({"min_confidence": 0.5, "mode": "lexical"}, "hybrid or dense"),
        ({"filter": 3}, "filter is 3"),
        ({"filter": {"type": "md"}}, "a list of them"),
        ({"filter": "since=yesterday"}, "no date"),
        ({"rerank": 7}, "cross-encoder"),
        ({"mod": "dense"}, "no search option 'mod'.*did you mean 'mode'"),
        ({"per-document": 3}, "did you mean 'per_document'"),
    ],
)
def test_values_that_cannot_be_meant_are_refused_with_those_that_can(values, message):
    with pytest.raises(UsageError, match=f"(?s){message}"):
        SearchRequest.from_dict({"query": "boat", **values})


def test_a_request_of_json():
    values = {"query": "boat", "k": 3, "filter": ["type=md"], "explain": True}
    assert SearchRequest.from_dict(values) == SearchRequest("boat", k=3, filter="type=md", explain=True)
    with pytest.raises(UsageError, match="needs 'query'"):
        SearchRequest.from_dict({"k": 3})
    assert SimilarRequest.from_dict({"place": "a.md:3", "itself": True}) == SimilarRequest("a.md:3", itself=True)
    with pytest.raises(UsageError, match="needs 'place'"):
        SimilarRequest.from_dict({})


@pytest.mark.parametrize(
    ("method", "kind", "own"),
    [(Collection.search, SearchRequest, "query"), (Collection.similar, SimilarRequest, "place")],
)
def test_the_keywords_of_a_collection_are_the_fields_of_its_request(method, kind, own):
    keywords = {
        name: each.default
        for name, each in inspect.signature(method).parameters.items()
        if each.kind is each.KEYWORD_ONLY
    }
    assert keywords == {each.name: each.default for each in fields(kind) if each.name != own}
