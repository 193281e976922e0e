"""Commands ask a running server: the same answers as without, whatever the server does."""

import json
import os
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

import semsearch
from semsearch import Collection, Filter, SearchRequest, SimilarRequest
from semsearch.service import running
from semsearch.service.client import Served
from semsearch.service.line import Line
from semsearch.service.running import Running
from semsearch.service.server import bind, serve
from semsearch.service.service import Service
from semsearch.settings import Settings

TOKEN = "a-token-that-is-long-enough"


@dataclass
class Asked:
    """A server of the person's home that runs in this process, and what commands have asked of it."""

    service: Service
    port: int
    asked: list[str] = field(default_factory=list)
    tokens: list[str | None] = field(default_factory=list)
    dies_after: int = 10**6

    @property
    def running(self) -> Running:
        return Running(host="127.0.0.1", port=self.port, token=TOKEN, pid=os.getpid())

    def hear(self, method, path, headers):
        if path != "/health":
            self.asked.append(path)
            self.tokens.append(headers.get("Authorization"))
            if len(self.asked) > self.dies_after:
                raise ConnectionResetError("gone")
        else:
            assert "Authorization" not in headers


@pytest.fixture
def home():
    return Path(os.environ["SEMSEARCH_HOME"])


@pytest.fixture
def server(home, monkeypatch):
    begun, up = [], threading.Event()
    with Service(Settings(home=home), token=TOKEN) as service:
        listening = bind("127.0.0.1", 0, TOKEN)
        thread = threading.Thread(
            target=serve, args=(service, listening, lambda server: (begun.append(server), up.set())), daemon=True
        )
        thread.start()
        assert up.wait(20)
        asked = Asked(service, listening.getsockname()[1])
        ask = Line.ask

        def heard(self, method, path, body, head, seconds):
            asked.hear(method, path, head)
            return ask(self, method, path, body, head, seconds)

        monkeypatch.setattr(Line, "ask", heard)
        assert running.announce(home, asked.running)
        yield asked
        running.withdraw(home, asked.running)
        begun[0].should_exit = True
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture
def same(run, server):
    """Run a command with the server and without; return the result where both are the same."""

    def call(*arguments, asks=True, **keywords):
        before = len(server.asked)
        with_it = run(*arguments, **keywords)
        assert (len(server.asked) > before) == asks
        middle = len(server.asked)
        assert with_it == run(*arguments, "--no-server", **keywords)
        assert len(server.asked) == middle
        return with_it

    return call


@pytest.fixture
def indexed(index, corpus):
    (corpus / "sails.txt").write_text("A sailing boat crosses the bay.")
    (corpus / "people.csv").write_text("name,place\nAda,London\nGrace,New York\n")
    (corpus / "b\udce9.txt").write_text("A name that is no text: boat.")
    index(corpus, "--text-field", "name", "--text-field", "place")
    return corpus


@pytest.mark.parametrize("form", [[], ["--json"]])
@pytest.mark.parametrize(
    "options",
    [
        ["--explain"],
        ["--mode", "lexical", "--full"],
        ["--fusion", "rrf", "--per-document", "1", "--no-collapse", "-k", "2"],
        ["--filter", "path=*.txt", "--filter", "since=2020-01-01T10:00", "--min-confidence", "0.1"],
        ["--min-confidence", "1"],
        ["--filter", "name=Ada", "--jsonl"],
    ],
)
def test_a_query_reads_the_same(form, options, indexed, same):
    same("query", *form, *options, "sailing boat bay")


def test_answers_are_the_same_values(indexed, server, home):
    request = SearchRequest("sailing boat bay", explain=True, filter=["type=txt", "since=2020-01-01T10:00+02:00"])
    with Served(server.running, "default") as served, Collection("default", home=home) as docs:
        answer = served.search(request)
        assert answer == docs.search(request)
        assert answer[0].duplicates
        assert answer[0].explanation.query_means
        place = str(indexed / "bread.md")
        assert served.similar(SimilarRequest(place, itself=True)) == docs.similar(place, itself=True)
        assert served.get(f"{place}:3", context=1) == docs.get(f"{place}:3", context=1)


WEST = timezone(timedelta(hours=-3))
CONDITIONS = [
    Filter(),
    Filter(paths=("a=b/**", "*.md"), kinds=("md", "pdf")),
    Filter(
        since=datetime(2026, 1, 31, 12, tzinfo=UTC), until=datetime(2026, 2, 1, tzinfo=timezone(timedelta(hours=-3)))
    ),
    Filter(fields=(("path", "x"), ("field.type", "a=b"), ("author", "Ada"), ("author", "Grace"))),
]


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_request_says_all_of_itself(condition):
    for request in (
        SearchRequest(
            "boat", k=3, mode="dense", filter=condition, collapse=False, rerank="a/judge", min_confidence=0.0
        ),
        SimilarRequest("a.md:3", filter=condition, per_document=1, itself=True, snippets=False),
    ):
        said = json.loads(json.dumps(request.to_dict()))
        back = type(request).from_dict(said)
        assert replace(back, filter=None) == replace(request, filter=None)
        assert (back.condition or Filter()) == condition


def test_what_follows_a_query_reads_the_same(indexed, same, monkeypatch):
    assert same("query", "--json", "--explain", "sailing boat bay").json[0]["explanation"]["terms"]
    assert len(same("query", "-", "--jsonl", input="boat\n\ndough rising\n").out.splitlines()) == 2
    same("query", "-", input="boat\n" * 2 + "[/red] \udce9 \x1b\n".encode("utf-8", "surrogatepass").decode("latin-1"))
    monkeypatch.chdir(indexed)
    for place in ("boats.txt", "./boats.txt:1", str(indexed / "boats.txt"), "people.csv:3"):
        assert same("similar", "--json", place).json
        assert same("get", "--json", place).json["text"]
    same("similar", "--itself", "--explain", "boats.txt")
    assert same("get", "-C", "1", "bread.md:3").out.splitlines()[-1].startswith("Knead")
    passage = same("query", "--json", "galaxy").json[0]["passage"]
    assert "galaxy" in same("get", passage).out
    assert same("similar", passage).code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["query", "--filter", "type=nonsense", "boat"],
        ["query", "--filter", "colour=red", "boat"],
        ["query", "--mode", "sparse", "boat"],
        ["query", "--mode", "lexical", "zeppelin"],
        ["query", "--json", "--filter", "type=pdf", "boat"],
        ["similar", "nowhere.txt"],
        ["similar", "--json", "corpus/boat.txt:3"],
        ["get", "boats.txt:100"],
        ["get", "boats.txt:3-1"],
        ["get", "--json", "123456"],
        ["get", ""],
        ["get", "."],
    ],
)
def test_errors_read_the_same(arguments, indexed, same, monkeypatch):
    monkeypatch.chdir(indexed)
    assert same(*arguments).code in (1, 2)


@pytest.mark.parametrize(
    "arguments",
    [
        ["query", ""],
        ["query", "--device", "cpu", "boat"],
        ["query", "--model", "hash:64", "boat"],
        ["query", "--precision", "fp32", "boat"],
        ["query", "--rerank", "./nowhere", "boat"],
        ["query", "--batch-tokens", "100", "boat"],
        ["query", "-c", "other", "boat"],
        ["query", "-k", "0", "boat"],
        ["get", "b\udce9.txt"],
    ],
)
def test_what_a_server_cannot_be_asked_is_not_asked(arguments, indexed, same, server, home):
    running.announce(home, Running(**{**asdict(server.running), "collections": ["default", "third"]}))
    same(*arguments, asks=False)


def test_settings_that_a_server_does_not_have_are_followed(indexed, same, server, home, monkeypatch):
    monkeypatch.setenv("SEMSEARCH_BATCH_TOKENS", "100")
    same("query", "boat", asks=False)
    running.announce(home, Running(**{**asdict(server.running), "batch_tokens": 100}))
    same("query", "boat")


def test_the_token_is_shown_to_the_server_alone(indexed, run, server):
    run("query", "boat")
    assert server.tokens == [f"Bearer {TOKEN}"]  # and /health is asked without


@pytest.mark.parametrize(
    "change",
    [
        {"pid": 2**22 + 7},
        {"pid": 2**70},
        {"port": 9},
        {"version": "0.0.9"},
        {"host": "127.0.0.2"},
        {"unknown": 1},
        {"port": "80"},
        {"collections": 5},
        {"host": None},
    ],
)
def test_a_stale_file_is_ignored(change, indexed, run, server, home):
    wanted = run("query", "--no-server", "boat")
    (home / running.FILE).write_text(json.dumps({**asdict(server.running), **change}))
    assert run("query", "boat") == wanted
    assert server.asked == []


def test_a_file_that_others_can_write_is_ignored(indexed, run, server, home):
    (home / running.FILE).chmod(0o644)
    run("query", "boat")
    assert server.asked == []


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"[" * 100_000, b'{"host": 1}'])
def test_a_file_that_is_no_such_file_is_ignored(content, indexed, run, server, home):
    (home / running.FILE).write_bytes(content)
    assert run("query", "boat").code == 0
    assert server.asked == []


class Other(BaseHTTPRequestHandler):
    """Another program, which answers everything with one value."""

    said: bytes = b""

    def do_GET(self):
        assert self.path == "/health"
        assert "Authorization" not in self.headers
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.said)))
        self.end_headers()
        self.wfile.write(self.said)

    def log_message(self, *_):
        pass


@pytest.mark.parametrize("said", [b"", b"[]", b"{}", b"\xff", {"pid": 1}, {"version": "0.0.9"}, {"pid": None}])
def test_another_program_at_the_address_is_not_asked(said, indexed, run, home):
    wanted = run("query", "boat")
    if isinstance(said, dict):
        said = json.dumps({"status": "ready", "version": semsearch.__version__, "pid": os.getpid(), **said}).encode()
    with HTTPServer(("127.0.0.1", 0), type("Saying", (Other,), {"said": said})) as other:
        threading.Thread(target=other.serve_forever, args=(0.01,), daemon=True).start()
        running.announce(home, Running(host="127.0.0.1", port=other.server_address[1], token=TOKEN, pid=os.getpid()))
        assert run("query", "boat") == wanted
        other.shutdown()


def test_a_server_that_dies_between_questions_is_replaced_by_this_process(indexed, run, server):
    wanted = run("query", "-", "--json", "--no-server", input="boat\ngalaxy\nknight\n")
    server.dies_after = 1
    seen = run("query", "-", "--json", input="boat\ngalaxy\nknight\n")
    assert (seen.code, seen.out) == (wanted.code, wanted.out)
    assert seen.err.count("the server of these collections is gone") == 1
    assert len(server.asked) == 3  # once more on a new connection, and never again


def test_the_file_is_its_owners_alone_and_goes_with_its_server(home, server):
    home.mkdir(exist_ok=True)
    assert (home / running.FILE).stat().st_mode & 0o777 == 0o600
    assert running.find(home) == server.running
    running.withdraw(home, Running(**{**asdict(server.running), "token": "another"}))
    assert running.find(home) == server.running
    running.withdraw(home, server.running)
    assert running.find(home) is None
    assert os.listdir(home) == []


def test_a_home_that_cannot_be_written_is_no_error(tmp_path, server):
    assert not running.announce(tmp_path / "none", server.running)
    running.withdraw(tmp_path / "none", server.running)


HEAVY = "numpy sqlalchemy sqlite3 faiss torch transformers pydantic starlette mcp anyio asyncio regex pyarrow".split()


@pytest.mark.parametrize(
    "arguments",
    [
        ["query", "boat"],
        ["query", "--json", "--explain", "--filter", "type=text", "boat"],
        ["similar", "--jsonl", "boats.txt"],
        ["get", "boats.txt"],
    ],
)
def test_a_warm_question_loads_next_to_nothing(arguments, indexed, server):
    code = "import sys; from semsearch.cli import run; code = run(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=indexed)
    assert "boat" in done.stdout
    assert not {"semsearch.encoders", "semsearch.collection", "tomllib"} & set(done.stderr.split())
    assert "semsearch.service.line" in done.stderr.split()
    loaded = {name.partition(".")[0] for name in done.stderr.split()}
    assert not loaded & {*HEAVY, "rich", "http", "ssl", "email"}


def test_query_update_reads_what_is_new_first(indexed, run, server):
    (indexed / "new.txt").write_text("A zeppelin over the town.")
    assert run("query", "--json", "--mode", "lexical", "zeppelin").code == 1
    seen = run("query", "--json", "--mode", "lexical", "--update", "zeppelin")
    assert [hit["path"] for hit in seen.json] == [str(indexed / "new.txt")]
    assert "1 new" in seen.err
    assert len(server.asked) == 1
