"""Kill indexing at any moment and check that no document is lost, torn or made up.

    python scripts/crash_test.py                     300 kills at random moments
    python scripts/crash_test.py --at-every write    a kill at each write to disk in turn
    python scripts/crash_test.py --at-every power    the same, and what was not flushed yet is lost
    python scripts/crash_test.py --at-every full     each write in turn fails with "no space left"
    python scripts/crash_test.py --limit             files may not grow past random sizes
    python scripts/crash_test.py --real FOLDER       `semsearch index FOLDER` itself, with the default model

A worker (a fork, so that it starts in no time) works on one collection with the hash encoder: it adds files, changes
them, removes them, commits, finishes, compacts. What it promised is in a log. After its end, the collection must open,
`verify` must find nothing, every file must be shown whole in one version, and in none older than was acknowledged. The
next worker resumes where it ended.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

os.environ.setdefault("OMP_NUM_THREADS", "1")  # threads do not survive a fork
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import alembic.command  # noqa: F401 - loaded before the fork
import numpy as np
from sqlalchemy import event
from sqlalchemy.engine import Engine

from indexer.embedding.encoder import MAX_TERMS
from indexer.embedding.hash_encoder import HashEncoder
from indexer.embedding.spec import EncoderSpec
from indexer.errors import CollectionNotFound, StoreError
from indexer.storage import create_store, exists, open_store
from indexer.storage.manifest import Manifest
from indexer.types import Document, Embedded, FileRecord, Parsed, ParsedDocument, Passage

if TYPE_CHECKING:
    from collections.abc import Callable

ENCODER = HashEncoder(EncoderSpec(model="hash:16"))
PATHS = [f"/data/{n}.txt" for n in range(12)]


class Log:
    """What the worker has begun and what has been acknowledged to it, appended line by line."""

    def __init__(self, path: Path):
        self.path = path

    def write(self, what: str, path: str, version: int) -> None:
        with open(self.path, "ab", buffering=0) as stream:
            stream.write(json.dumps([what, path, version]).encode() + b"\n")

    def read(self) -> tuple[dict[str, set[int]], dict[str, int]]:
        """(versions begun of each path, version acknowledged of each path); version 0: not there."""
        begun: dict[str, set[int]] = {path: {0} for path in PATHS}
        sure = dict.fromkeys(PATHS, 0)
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        for what, path, version in map(json.loads, lines):
            if what == "begun":
                begun[path].add(version)
            else:
                sure[path] = version
                begun[path] = {v for v in begun[path] if abs(v) >= abs(version)} | {version}
        return begun, sure


def texts(path: str, version: int) -> list[list[str]]:
    """The documents of a file's version: 0 to 3 of 1 to 4 passages; some texts stay from version to version."""
    draw = random.Random(f"{path} {version}")
    return [
        [
            f"{path} version {version} record {r} passage {n}" if draw.random() < 0.7 else f"shared {draw.randrange(9)}"
            for n in range(draw.randint(1, 4))
        ]
        for r in range(draw.randint(0, 3))
    ]


def contents(path: str, version: int) -> tuple[ParsedDocument, ...]:
    return tuple(
        ParsedDocument(
            Document(path, "\n".join(parts), "text", record=f"{version}/{r}"),
            tuple(Passage(text, 0, len(text), n + 1, n + 1, 5) for n, text in enumerate(parts)),
        )
        for r, parts in enumerate(texts(path, version))
    )


def work(folder: Path, seed: int, steps: int) -> None:
    """One run of the indexer: resume, then random changes."""
    draw = random.Random(seed)
    log = Log(folder / "log")
    begun, _ = log.read()
    versions = {path: max(map(abs, begun[path])) for path in PATHS}
    state = {path: 0 for path in PATHS}
    place = folder / "c"
    collection = open_store(place) if exists(place) else create_store(place, manifest())
    with collection.snapshot() as snapshot:
        state |= {file.path: int(file.digest or 0) for file in snapshot.files()}
    with collection.writer() as s:

        def commit(how: Callable[[], object]) -> None:
            while rows := s.claim(draw.randint(1, 8)):
                vectors, terms = ENCODER.encode_terms([row.text for row in rows])
                s.put(Embedded(np.array([row.id for row in rows]), vectors, tuple(terms)))
                if draw.random() < 0.5:
                    s.commit()
            how()
            for path, version in state.items():
                log.write("sure", path, version)

        commit(s.commit)  # whatever an earlier run had left
        for step in range(steps):
            for path in draw.sample(PATHS, draw.randint(1, 4)):
                versions[path] += 1
                if draw.random() < 0.25:
                    log.write("begun", path, -versions[path])
                    s.remove([path])
                    state[path] = -versions[path]
                else:
                    log.write("begun", path, versions[path])
                    record = FileRecord(path, "/data", 1, versions[path], str(versions[path]))
                    s.stage(Parsed(record, contents(path, versions[path])))
                    state[path] = versions[path]
                if draw.random() < 0.2:
                    s.commit()
            commit(draw.choice([s.commit, s.commit, s.finish, s.compact] if step % 3 else [s.finish, s.compact]))


def manifest() -> Manifest:
    return Manifest(spec=ENCODER.spec, dim=ENCODER.dim, sparse=MAX_TERMS)


def judge(folder: Path) -> None:
    """Raises AssertionError where the collection is not what was promised. Negative versions are removals."""
    place = folder / "c"
    if not exists(place):
        return  # killed before there was a collection
    begun, sure = Log(folder / "log").read()
    collection = open_store(place)
    problems = [p for p in collection.examine(mend=False, open_encoder=lambda _: ENCODER) if p.part != "leftovers"]
    assert not problems, problems
    with collection.snapshot() as s:
        shown: dict[str, dict[str, list[str]]] = {}
        numbers = []
        for found in s.documents():
            texts_of = shown.setdefault(found.document.path, {}).setdefault(str(found.document.record), [])
            texts_of.extend(part.passage.text for part in found.passages)
            numbers.extend(part.id for part in found.passages)
        live = np.sort(np.array(numbers, np.int64))
        live = live[s.embedded(live)]
        if len(live):
            nearest = s.dense(s.vectors(live[:3]), len(numbers))
            found_ids = sorted(n for n in nearest.ids[0].tolist() if n >= 0)
            assert found_ids == live.tolist(), "search shows other passages than the catalog"
            ours = ENCODER.encode_terms([found.passage.text for found in s.get(live)])[1]
            assert s.terms(live) == ours, "passages have other terms than their texts"
            assert (s.sparse([ours[0]], len(live)).ids == live[0]).any(), "a passage is not found by its own terms"
        recorded = {file.path for file in s.files()}
    for path in PATHS:
        versions = {int(record.split("/")[0]) for record in shown.get(path, {})}
        assert len(versions) <= 1 or sure[path] <= 0, f"{path} is shown in versions {versions}"
        possible = begun[path]
        if versions:
            version = versions.pop()
            assert version in possible, f"{path} is shown in version {version}; it could be {possible}"
            whole = {f"{version}/{r}": parts for r, parts in enumerate(texts(path, version))}
            for record, parts in shown[path].items():
                assert parts == whole[record], f"{path} record {record} is torn: {parts}"
            if version == sure[path]:
                assert shown[path] == whole, f"{path}: records of acknowledged version {version} are missing"
        else:
            gone = [v for v in possible if v <= 0 or not texts(path, v)]
            assert gone or sure[path] <= 0, f"{path} is not shown; it could be {possible}"
        if sure[path] > 0 and all(v > 0 for v in possible):
            assert path in recorded, f"{path} is not known"


def fork(task: Callable[[], None]) -> int:
    """Run in a child; its process id. An error there, other than one of the store, ends it with code 70."""
    child = os.fork()
    if child:
        return child
    try:
        task()
        os._exit(0)
    except StoreError as error:
        print(f"  {error}", file=sys.stderr) if os.environ.get("CRASH_VERBOSE") else None
        os._exit(3)
    except BaseException:
        import traceback

        traceback.print_exc()
        os._exit(70)


def ended(child: int) -> int:
    """Its exit code; minus the signal that killed it."""
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code != 70, "the worker failed for another reason than the one injected"
    return code


class Injector:
    """Counts writes to disk (flushes, renames, removals, SQL changes and commits) and does something at one of them."""

    def __init__(self, at: int, how: str):
        self.at, self.how, self.count = at, how, 0
        self.synced: set[str] = set()
        self.renamed: list[tuple[str, str, str | None]] = []  # (from, to, copy of what was there), folder not flushed

    def install(self) -> None:
        fsync, replace, unlink = os.fsync, os.replace, os.unlink

        def our_fsync(fd: int) -> None:
            self.tick("file")
            fsync(fd)
            path = os.readlink(f"/proc/self/fd/{fd}")
            self.synced.add(path)
            if os.path.isdir(path):
                self.renamed = [r for r in self.renamed if os.path.dirname(r[1]) != path]

        def our_replace(source: str, target: str) -> None:
            self.tick("file")
            source, target = os.path.abspath(source), os.path.abspath(target)
            assert source in self.synced, f"{source} was renamed before it was flushed"
            old = None
            if self.how == "power" and os.path.exists(target):
                old = target + ".before"
                os.link(target, old)
            replace(source, target)
            self.renamed.append((source, target, old))

        def our_unlink(path: str, **more: object) -> None:
            if self.how != "full":  # removing needs no space
                self.tick("file")
            unlink(path, **more)

        os.fsync, os.replace, os.unlink = our_fsync, our_replace, our_unlink
        event.listen(Engine, "before_cursor_execute", lambda c, k, statement, *rest: self.sql(statement))
        event.listen(Engine, "commit", lambda connection: self.tick("sql"))

    def sql(self, statement: str) -> None:
        if re.match(r"\s*(INSERT|UPDATE|DELETE|CREATE|DROP)", statement):
            self.tick("sql")

    def tick(self, kind: str) -> None:
        self.count += 1
        if self.count != self.at:
            return
        if self.how == "full":
            if kind == "sql":
                import sqlite3

                from sqlalchemy.exc import OperationalError

                raise OperationalError("injected", {}, sqlite3.OperationalError("database or disk is full"))
            raise OSError(errno.ENOSPC, "No space left on device")
        if self.how == "power":
            for source, target, old in reversed(self.renamed):  # the folder forgets its newest entries
                os.rename(target, source)
                if old:
                    os.rename(old, target)
        os.kill(os.getpid(), signal.SIGKILL)


def at_every(folder: Path, how: str, seed: int, steps: int, stride: int) -> int:
    """Do the same work once for each write in it, and disturb that one. The number of disturbances."""
    number = random.Random().randrange(stride)
    while True:
        number += stride
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)

        def task(at: int = number) -> None:
            injector = Injector(at, how)
            injector.install()
            work(folder, seed, steps)

        code = ended(fork(task))
        for left in folder.rglob("*.before"):
            left.unlink()
        try:
            judge(folder)
            assert ended(fork(lambda: work(folder, seed + 1, 1))) == 0, "the next run does not resume"
            judge(folder)
        except AssertionError as error:
            fail(f"write {number} ({how}, exit {code}): {error}", folder)
        if code == 0:
            return number // stride - 1


def at_random(folder: Path, kills: int, seed: int, longest: float) -> tuple[int, int]:
    """Workers one after another on one collection, each killed at a random moment. (kills, runs that ended first)."""
    draw = random.Random(seed)
    done = finished = 0
    folder.mkdir(parents=True, exist_ok=True)
    while done < kills:
        if done % 50 == 0:
            shutil.rmtree(folder)
            folder.mkdir()
        child = fork(lambda: work(folder, draw.randrange(10**9), 60))
        time.sleep(draw.random() ** 2 * longest)
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        if ended(child) == 0:
            finished += 1
        done += 1
        try:
            judge(folder)
        except AssertionError as error:
            fail(f"kill {done}: {error}", folder)
    return done, finished


def at_limit(folder: Path, runs: int, seed: int) -> int:
    """No file may grow past a random size, as on a full disk. The number of runs that met the limit."""
    draw, met = random.Random(seed), 0
    for number in range(runs):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        limit = draw.randrange(1_000, 1_500_000)

        def task(limit: int = limit, number: int = number) -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            work(folder, seed + number, 20)

        met += ended(fork(task)) == 3
        try:
            judge(folder)
            assert ended(fork(lambda: work(folder, seed, 1))) == 0, "the next run does not resume"
            judge(folder)
        except AssertionError as error:
            fail(f"limit of {limit} bytes: {error}", folder)
    return met


def fail(message: str, folder: Path) -> NoReturn:
    kept = Path(tempfile.mkdtemp(prefix="crash-")) / "collection"
    shutil.copytree(folder, kept)
    raise AssertionError(f"{message} (kept in {kept})")


def real(source: Path, kills: int, seed: int, longest: float) -> str:
    """The command itself, killed at random moments, then let through. What happened, in words."""
    draw, command = random.Random(seed), [sys.executable, "-m", "semsearch"]
    with tempfile.TemporaryDirectory() as home:
        place = ["--home", home]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        had = []
        while len(had) < kills:
            child = subprocess.Popen([*command, "index", str(source), *place], **quiet)
            with suppress(subprocess.TimeoutExpired):
                assert child.wait(4 + longest * draw.random()) == 0
                break
            child.kill()
            child.wait()
            with suppress(CollectionNotFound), open_store(Path(home) / "default").snapshot() as s:
                had.append(s.counts().passages)
            check = subprocess.run([*command, "doctor", "--no-model", "--json", *place], capture_output=True, text=True)
            said = json.loads(check.stdout or check.stderr)
            lasting = [p for p in said.get("problems", []) if not (p["part"] == "leftovers" and p["mended"])]
            assert not lasting, said
        last = subprocess.run([*command, "index", str(source), "--json", *place], capture_output=True, text=True)
        passages = json.loads(last.stdout)["passages"]
        check = subprocess.run([*command, "doctor", *place], capture_output=True, text=True)
        assert check.returncode == 0, check.stdout + check.stderr
    done = f"the last run embedded {passages['embedded']} of {passages['total']}"
    return f"kills of the command itself when it had {had} passages; {done}"


def load(folder: Path) -> None:
    """Write and read a collection once, so that a child finds every module loaded when it is forked."""
    folder.mkdir()
    work(folder, 0, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=4, help="rounds of changes in each run of --at-every")
    parser.add_argument("--stride", type=int, default=1, help="disturb every n-th write only")
    parser.add_argument("--at-every", choices=["write", "power", "full"])
    parser.add_argument("--limit", action="store_true")
    parser.add_argument("--real", type=Path)
    parser.add_argument("--longest", type=float, default=60, help="most seconds that a run of --real lives")
    options = parser.parse_args()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        load(Path(scratch) / "first")
        folder = Path(scratch) / "work"
        if options.real:
            said = real(options.real, options.kills, options.seed, options.longest)
        elif options.at_every:
            number = at_every(folder, options.at_every, options.seed, options.steps, options.stride)
            said = f"disturbed {number} writes ({options.at_every})"
        elif options.limit:
            met = at_limit(folder, options.kills, options.seed)
            said = f"{met} of {options.kills} runs met their limit"
        else:
            kills, finished = at_random(folder, options.kills, options.seed, 1.5)
            said = f"{kills - finished} kills at random moments, {finished} runs ended before theirs"
    print(f"{said}: nothing lost, nothing torn ({time.monotonic() - start:.0f} s)")


if __name__ == "__main__":
    main()
