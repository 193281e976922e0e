"""Programs that tests run as processes of their own: NAME URL COLLECTION [ARGUMENTS]."""

from __future__ import annotations

import sys

from indexer.errors import StoreError
from indexer.storage.postgres.store import PostgresStore
from tests.storage.contract.values import embed, lexical, parsed, shown


def write(store: PostgresStore, number: str, rounds: str) -> None:
    """Replace two files in one commit, some times; print what was embedded. One text is in the other's files too."""
    with store.writer() as writer:
        for each in range(int(rounds)):
            for name in "ab":
                text = f"writer {number} round {each} of {name}"
                writer.stage(parsed(f"/data/{number}/{name}", [text, "said by both"], mtime_ns=each))
            print(*embed(store, writer), sep="\n", flush=True)
            writer.commit()
        while writer.waiting().texts:  # the other has claimed it
            print(*embed(store, writer), sep="\n", flush=True)
            writer.commit()
        writer.finish()


def read(store: PostgresStore) -> None:
    """Look at one snapshot after the other until told to end, each twice; print how many there were."""
    looked, last = 0, {"0": -1, "1": -1}
    while True:
        end = store.annotation("end") is not None
        with store.snapshot() as snapshot:
            texts = shown(snapshot)
            assert shown(snapshot) == texts
            for number in last:
                mine = [text.split() for text in texts if text.startswith(f"writer {number} ")]
                rounds = {int(words[3]) for words in mine}
                assert len(mine) in (0, 2), texts  # both files of a commit, or none
                assert len(rounds) <= 1, texts
                now = max(rounds, default=-1)
                assert now >= last[number]
                last[number] = now
                if mine:
                    assert len(lexical(snapshot, f'"writer {number} round"')) == 2
        looked += 1
        if end:
            print(looked)
            return


def pairs(store: PostgresStore) -> None:
    """Replace two files in one commit until the end of the world; print the number of each when it is kept."""
    try:
        with store.writer() as writer:
            for number in range(1_000_000):
                for name in "ab":
                    writer.stage(parsed(f"/data/{name}", [f"pair {number} {name}"], mtime_ns=number))
                embed(store, writer)
                writer.commit()
                print(number, flush=True)
    except StoreError as error:
        print(error)
        sys.exit(3)


if __name__ == "__main__":
    name, url, collection, *arguments = sys.argv[1:]
    {"write": write, "read": read, "pairs": pairs}[name](PostgresStore(url, collection), *arguments)
