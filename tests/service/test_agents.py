"""What agents see: tools, their schemas, results and errors, by the SDK's own client."""

import asyncio
import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import jsonschema
import pytest
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.stdio import stdio_client

from semsearch import Collection, SearchRequest, SimilarRequest
from semsearch.cli import run
from semsearch.service.agents.protocol import Agents
from semsearch.service.agents.results import MOST_CHARACTERS
from semsearch.service.agents.schema import plain, schema_of
from semsearch.service.encoding.batching import gone
from semsearch.service.encoding.caller import CALLER
from semsearch.service.service import Limits, Service
from semsearch.settings import Settings
from tests.conftest import ROOT


@pytest.fixture
def service(home):
    with Service(Settings(home=home)) as service:
        yield service


def asked(server, *calls):
    """Return the results of calls (name, arguments) over one connection."""

    async def run():
        async with Client(server) as client:
            return [await client.call_tool(name, arguments) for name, arguments in calls]

    return asyncio.run(run())


def given(server, name, **arguments):
    """Return what a call gives, checked against the tool's own schema."""

    async def run():
        async with Client(server) as client:
            [tool] = [each for each in (await client.list_tools()).tools if each.name == name]
            result = await client.call_tool(name, arguments)
            return tool, result

    tool, result = asyncio.run(run())
    assert not result.is_error, result.content
    jsonschema.validate(arguments, tool.input_schema)
    jsonschema.validate(result.structured_content, tool.output_schema)
    assert json.loads(result.content[0].text) == result.structured_content
    return result.structured_content


def listed(server):
    async def run():
        async with Client(server) as client:
            return (await client.list_tools()).tools, client.instructions

    return asyncio.run(run())


def walk(value):
    yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from walk(each)


def test_schemas_hold_no_unions_and_refuse_what_they_do_not_name(service):
    tools, _ = listed(Agents(service))
    assert [each.name for each in tools] == ["search", "similar", "get", "status"]
    for tool in tools:
        for schema in (tool.input_schema, tool.output_schema):
            jsonschema.Draft202012Validator.check_schema(schema)
            for part in walk(schema):
                if isinstance(part, dict):
                    assert not {"anyOf", "oneOf", "allOf", "$ref"} & set(part)
                    assert isinstance(part.get("type", ""), str | dict)
                    assert part.get("type") != "object" or "additionalProperties" in part
        assert tool.input_schema["additionalProperties"] is False
        assert tool.annotations.read_only_hint is True
        assert tool.annotations.destructive_hint is False
        assert tool.annotations.open_world_hint is False


@pytest.mark.parametrize(("name", "kind"), [("search", SearchRequest), ("similar", SimilarRequest)])
def test_arguments_are_the_fields_of_the_request(name, kind, service):
    [tool] = [each for each in listed(Agents(service))[0] if each.name == name]
    known = set(kind.__dataclass_fields__) - {"_", "snippets", "rerank"}
    assert set(tool.input_schema["properties"]) == known | {"collection"}
    for field, schema in tool.input_schema["properties"].items():
        assert schema["description"], field
        if field != "collection" and "default" in schema:
            assert kind.__dataclass_fields__[field].default == schema["default"]


def test_a_cross_encoder_can_be_asked_for_where_there_is_one(home):
    with Service(Settings(home=home), reranker="a/judge") as service:
        [tool] = [each for each in listed(Agents(service))[0] if each.name == "search"]
        assert tool.input_schema["properties"]["rerank"]["enum"] == ["a/judge"]
        [refused] = asked(Agents(service), ("search", {"query": "boat", "rerank": "/etc/judge"}))
        assert refused.is_error
        assert "the server has 'a/judge'" in refused.content[0].text


def test_hits_are_those_of_the_collection(service, home):
    found = given(Agents(service), "search", query="a boat in the bay", k=2, explain=True)
    with Collection("default", home=home) as docs:
        hits = docs.search("a boat in the bay", k=2, explain=True)
    assert [(each["rank"], each["score"], each["text"]) for each in found["hits"]] == [
        (hit.rank, hit.score, hit.text) for hit in hits
    ]
    best = found["hits"][0]
    assert best["place"] == f"{hits[0].path}:1-3"
    assert best["sentence"] == "A sailing boat crosses the bay."
    assert best["confidence"] == hits[0].explanation.percentile
    assert best["why"]["words"] == list(hits[0].explanation.terms)
    assert found["collection"] == "default"


def test_a_hit_leads_to_its_text_and_to_more_like_it(service):
    [hit] = given(Agents(service), "search", query="knead the dough", k=1)["hits"]
    around = given(Agents(service), "get", place=hit["passage"], context=5)
    assert around["text"].startswith("# Bread")
    assert given(Agents(service), "get", place=hit["place"])["line_start"] == hit["line_start"]
    assert hit["path"] not in [each["path"] for each in given(Agents(service), "similar", place=hit["passage"])["hits"]]


def test_another_collection_is_asked_by_its_name_and_status_lists_all(service, home):
    assert given(Agents(service), "search", query="knight", collection="other", mode="lexical")["hits"]
    states = {each["name"]: each for each in given(Agents(service), "status")["collections"]}
    assert {name: state["files"] for name, state in states.items()} == {"default": 3, "other": 1}
    assert states["default"]["default"]
    assert given(Agents(service), "status", collection="other")["collections"] == [states["other"]]
    (home / "damaged").mkdir()
    (home / "damaged" / "collection.json").write_text("{")
    for file in (home / "other").iterdir():
        if file.is_file():
            (home / "damaged" / file.name).write_bytes(b"no such thing")
    states = {each["name"]: each for each in given(Agents(service), "status")["collections"]}
    assert states["damaged"]["error"]
    assert "error" not in states["default"]


def test_instructions_list_the_collections_that_there_are_now(service, home):
    server = Agents(service)
    assert "Collections: default (asked where none is named), other." in listed(server)[1]
    Collection("other", home=home).delete()
    assert "Collections: default (asked where none is named)." in listed(server)[1]


def test_a_long_document_comes_in_parts(service, tmp_path, home):
    lines = [f"line {number} of many, which all say something" for number in range(1, 2001)]
    (tmp_path / "docs" / "long.txt").write_text("\n".join(lines))
    with Collection("default", home=home) as docs:
        docs.index()
    place, seen = str(tmp_path / "docs" / "long.txt"), []
    while place is not None:
        part = given(Agents(service), "get", place=place)
        assert len(part["text"]) <= MOST_CHARACTERS
        assert part["line_end"] - part["line_start"] + 1 == len(part["text"].splitlines())
        seen += part["text"].splitlines()
        place = part.get("next")
    assert seen == lines


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("search", {}, "a search needs 'query'"),
        ("search", {"query": ""}, "the query is empty"),
        ("search", {"query": "boat", "kk": 3}, "there is no argument of search 'kk' (did you mean 'k'?)"),
        ("search", {"query": "boat", "snippets": False}, "there is no argument of search 'snippets'"),
        ("search", {"query": "boat", "k": 10**9}, "an agent gets at most 100 hits"),
        ("search", {"query": "boat", "k": "3"}, "k is '3'; it is a whole number"),
        ("search", {"query": "boat", "k": True}, "k is True"),
        ("search", {"query": ["boat"]}, "it is text"),
        ("search", {"query": "boat", "mode": "dence"}, "did you mean 'dense'?"),
        ("search", {"query": "boat", "filter": ["colour=red"]}, "no record of this collection has a field 'colour'"),
        ("search", {"query": "boat", "filter": {"type": "md"}}, "filter is {'type': 'md'}"),
        ("search", {"query": "boat", "rerank": "../judge"}, "there is no argument of search 'rerank'"),
        ("search", {"query": "boat", "collection": "../other"}, "'../other' cannot name a collection"),
        ("search", {"query": "boat", "collection": "nowhere"}, "there is no collection 'nowhere'"),
        ("search", {"query": "boat", "collection": 5}, "collection is 5"),
        ("search", {"query": "boat", "min_confidence": float(2)}, "from 0 to 1"),
        ("similar", {"place": "nowhere.md"}, "not in collection 'default'"),
        ("get", {}, "place is None"),
        ("get", {"place": 1}, "place is 1"),
        ("get", {"place": "1", "context": -1}, "a number of lines from 0 up"),
        ("get", {"place": "1", "context": "2"}, "a number of lines from 0 up"),
        ("get", {"place": "1", "path": "/etc/passwd"}, "there is no argument of get 'path'"),
        ("status", {"name": "default"}, "there is no argument of status 'name'"),
        ("serch", {"query": "boat"}, "there is no tool 'serch' (did you mean 'search'?)"),
    ],
)
def test_what_cannot_be_meant_is_an_error_of_the_tool(name, arguments, said, service):
    [result] = asked(Agents(service), (name, arguments))
    assert result.is_error
    assert said in result.content[0].text
    assert result.structured_content is None


@pytest.mark.parametrize(
    "place", ["{docs}/../secret.txt", "/etc/passwd", "file:///etc/passwd", "{docs}/secret-link.txt"]
)
def test_nothing_that_is_not_indexed_is_read_or_told_of(place, service, tmp_path):
    (tmp_path / "secret.txt").write_text("the combination is 12-34")
    (tmp_path / "docs" / "secret-link.txt").symlink_to(tmp_path / "secret.txt")
    place = place.format(docs=tmp_path / "docs")
    other = place.replace("passwd", "passwx").replace("secret", "seczet")
    for name in ("get", "similar"):
        [there, gone] = asked(Agents(service), (name, {"place": place}), (name, {"place": other}))
        assert there.is_error
        assert "combination" not in there.content[0].text
        back = gone.content[0].text.replace("passwx", "passwd").replace("seczet", "secret")
        assert there.content[0].text == back


HOSTILE = [
    "<script>alert(1)</script> boat",
    "boat'; DROP TABLE passages; --",
    '"unclosed boat* NEAR(',
    "\0boat\ufffd",
    "boat " * 5000,
]


@pytest.mark.parametrize("query", HOSTILE)
def test_hostile_text_is_text(query, service):
    found = given(Agents(service), "search", query=query)
    assert any("boat" in hit["text"] for hit in found["hits"])


def test_null_is_what_was_not_given(service):
    [with_null, without] = asked(
        Agents(service),
        ("search", {"query": "boat", "filter": None, "k": None, "collection": None}),
        ("search", {"query": "boat"}),
    )
    assert with_null.structured_content == without.structured_content


def test_a_defect_says_nothing_of_the_code(service, monkeypatch):
    monkeypatch.setattr(Collection, "search", lambda *_: 1 / 0)
    [result] = asked(Agents(service), ("search", {"query": "boat"}))
    assert (result.is_error, result.content[0].text) == (True, "the server has a defect; see its log")


@pytest.fixture
def endless(monkeypatch):
    """Searches that end only when nobody waits for them any more; gives those that have ended."""
    ended = []

    def search(*_):
        left = threading.Event()
        CALLER.get().on_leaving(left.set)
        ended.append(left.wait(30))
        raise gone()

    monkeypatch.setattr(Collection, "search", search)
    return ended


def test_work_that_takes_too_long_is_dropped(home, endless):
    with Service(Settings(home=home), limits=Limits(seconds=0.1)) as service:
        [result] = asked(Agents(service), ("search", {"query": "boat"}))
    assert (result.is_error, result.content[0].text) == (True, "no answer within 0.1 s; ask for less at once")
    assert endless == [True]


def test_work_that_nobody_waits_for_is_dropped(service, endless):
    async def run():
        async with Client(Agents(service)) as client:
            with contextlib.suppress(MCPError):
                await client.call_tool("search", {"query": "boat"}, read_timeout_seconds=0.1)
            while not endless:
                await asyncio.sleep(0.01)

    asyncio.run(run())
    assert endless == [True]


# The schemas that values make


@dataclass(frozen=True)
class Inner:
    name: Annotated[str | None, "a name"] = None


@dataclass(frozen=True)
class Outer:
    number: int
    inner: Inner | None = None
    all: tuple[Inner, ...] = ()
    by: Mapping[str, float] | None = None


def test_a_schema_says_what_may_be_missing():
    schema = schema_of(Outer)
    assert schema["required"] == ["number", "all"]
    assert schema["properties"]["inner"]["properties"]["name"] == {"type": "string", "description": "a name"}
    for value in (Outer(1), Outer(2, Inner("a"), (Inner(), Inner("b")), {"x": 0.5})):
        jsonschema.validate(plain(value), schema)
    assert plain(Outer(1)) == {"number": 1, "all": []}


def test_a_type_that_is_two_types_has_no_schema():
    with pytest.raises(TypeError, match="has no schema"):
        schema_of(int | str)


# Over standard input and output


def command(home, *options):
    return [sys.executable, "-m", "semsearch", "mcp", "--home", str(home), *options]


def test_over_standard_input_and_output(home):
    first, *rest = command(home, "--collection", "other")

    async def run():
        server = StdioServerParameters(command=first, args=rest, env=dict(os.environ))
        async with Client(stdio_client(server)) as client:
            tools = [each.name for each in (await client.list_tools()).tools]
            found = await client.call_tool("search", {"query": "knight", "mode": "lexical"})
            refused = await client.call_tool("search", {"query": "boat", "collection": "default"})
            return tools, client.instructions, found, refused

    tools, said, found, refused = asyncio.run(run())
    assert tools == ["search", "similar", "get", "status"]
    assert "Collections: other (asked where none is named)." in said
    assert found.structured_content["hits"][0]["text"] == "The knight forks king and rook."
    assert refused.is_error


HELLO = [
    {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"},
        },
    },
    {"jsonrpc": "2.0", "method": "notifications/initialized"},
]


def lines(*messages):
    return "".join(json.dumps(each) + "\n" for each in (*HELLO, *messages))


def call(number, name, **arguments):
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": {"name": name, "arguments": arguments}}


def test_standard_output_carries_the_protocol_alone_and_all_is_answered_when_input_ends(home):
    noisy = (
        "import sys, os; from semsearch import Collection; search = Collection.search\n"
        "def loud(*given):\n"
        "    print('again', flush=True); os.write(1, b'written\\n'); print('printed')\n"
        "    return search(*given)\n"
        "Collection.search = loud\n"
        "from semsearch.cli import main, mcp; mcp.GRACE = 600; main(sys.argv[1:])"
    )
    done = subprocess.run(
        [sys.executable, "-c", noisy, "mcp", "--home", str(home)],
        input=lines(call(2, "search", query="boat"), call(3, "status"), {"no": "message"}) + "no JSON\n",
        capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONUNBUFFERED": ""},
    )  # fmt: skip
    answers = {each.get("id"): each for each in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == 0
    assert {1, 2, 3} <= set(answers)
    assert answers[2]["result"]["structuredContent"]["hits"]
    for word in ("printed", "written", "again"):
        assert word in done.stderr


def test_it_ends_at_the_end_of_input_while_a_tool_runs(home):
    stuck = (
        "import sys, time; from semsearch import Collection\n"
        "def wait(*given):\n"
        "    print('asked', file=sys.stderr, flush=True); time.sleep(600)\n"
        "Collection.search = wait\n"
        "from semsearch.cli import main, mcp; mcp.GRACE = 0.1; main(sys.argv[1:])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", stuck, "mcp", "--home", str(home)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    process.stdin.write(lines(call(2, "search", query="boat")))
    process.stdin.flush()
    assert process.stderr.readline() == "asked\n"
    process.stdin.close()
    assert process.wait(60) == 0
    assert [json.loads(line)["id"] for line in process.stdout] == [1]
    process.stdout.close()
    process.stderr.close()


def test_the_skill_is_printed_without_loading_anything(home):
    code = "import sys; from semsearch.cli import run; run(['mcp', '--skill']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.startswith("---\nname: semsearch\ndescription: ")
    assert not {"mcp", "starlette", "numpy", "torch"} & set(done.stderr.split())
    for tool in ("search", "similar", "get", "status"):
        assert f"`{tool}`" in done.stdout


def test_the_page_registers_commands_that_there_are(capsys):
    page = (ROOT / "COMMANDS.md").read_text()
    said = [shlex.split(found) for found in re.findall(r" -- (semsearch [^#\n]*)", page)]
    for block in re.findall(r"^```json\n(.*?)^```", page, re.DOTALL | re.MULTILINE):
        [servers] = json.loads(block).values()
        said += [[each["command"], *each["args"]] for each in servers.values() if "command" in each]
    assert len(said) >= 4
    for program, *arguments in said:
        assert program == "semsearch"
        assert run([*arguments, "--help"]) == 0
        assert "Model Context Protocol" in capsys.readouterr().out


# Over HTTP


def test_over_http_beside_the_other_routes(served):
    async def run():
        async with Client(f"http://127.0.0.1:{served.port}/mcp") as client:
            tools = [each.name for each in (await client.list_tools()).tools]
            return tools, await client.call_tool("search", {"query": "boat", "k": 1})

    tools, found = asyncio.run(run())
    assert tools == ["search", "similar", "get", "status"]
    [hit] = served.post("/v1/search", {"query": "boat", "k": 1}).json["hits"]
    [same] = found.structured_content["hits"]
    assert (same["score"], same["text"]) == (hit["score"], hit["text"])


RPC = {"accept": "application/json, text/event-stream"}


def test_requests_stand_for_themselves_and_are_answered_by_json(served):
    reply = served.post("/mcp", call(7, "search", query="boat", k=1), **RPC)
    assert reply.status == 200
    assert reply.headers["content-type"].startswith("application/json")
    assert reply.json["id"] == 7
    assert reply.json["result"]["structuredContent"]["hits"]
    assert "mcp-session-id" not in reply.headers
    assert served.get("/mcp").status == 405


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"host": "evil.example"}, 421), ({"origin": "http://evil.example"}, 403), ({"content-type": "text/plain"}, 400)],
)
def test_foreign_callers_are_refused(headers, status, served):
    assert served.post("/mcp", call(1, "status"), **{**RPC, **headers}).status == status


def test_a_token_is_asked_for(start):
    served = start(token="a-token-that-is-long-enough")
    assert served.post("/mcp", call(1, "status"), **RPC, authorization="Bearer wrong").status == 401
    assert served.post("/mcp", call(1, "status"), **RPC).status == 200


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"jsonrpc": "2.0"}', b"\xff", b"[" * 100_000])
def test_what_is_no_message_is_refused(body, served):
    reply = served.ask("POST", "/mcp", body, RPC)
    assert 400 <= reply.status < 500
    assert served.post("/mcp", call(1, "status"), **RPC).status == 200


def test_many_agents_at_once_get_what_one_gets(served):
    wanted = served.post("/mcp", call(1, "search", query="boat"), **RPC).json
    seen = []

    def ask():
        seen.extend(served.post("/mcp", call(1, "search", query="boat"), **RPC).json for _ in range(3))

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    assert seen == [wanted] * 18
