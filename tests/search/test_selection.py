from dataclasses import replace

import numpy as np
import pytest

from indexer.embedding.hash_encoder import HashEncoder
from indexer.types import Passage, StoredPassage
from semsearch.search.ranking.selection import difference, select

LONG = "the sailing boat crosses the bay in the morning while its crew looks after ropes and the helm and sings"


def row(id, text, path="/a.txt", record=None):
    return StoredPassage(id, Passage(text, 0, len(text), 1, 1, 1), path, "text", record, None, {}, 0)


def vectors_of(rows):
    encoded = dict(zip((r.id for r in rows), HashEncoder().encode([r.passage.text for r in rows]), strict=True))
    return lambda ids: np.stack([encoded[id] for id in ids])


def kept(rows, k=10, vectors=None, **options):
    found = select(rows, vectors or vectors_of(rows), k, **options)
    return [(each.row.id, [twin.row.id for twin in each.duplicates]) for each in found]


def test_near_duplicates_are_folded_into_the_better_one():
    rows = [row(1, LONG), row(2, "a galaxy"), row(3, LONG.replace(" in ", "\n in\n")), row(4, LONG + ", Today!")]
    assert kept(rows) == [(1, [3, 4]), (2, [])]
    shouted, apart = row(5, LONG.upper()), lambda ids: pytest.fail("equal but for case")
    assert kept([rows[0], shouted], vectors=apart) == [(1, [5])]
    assert kept(rows, collapse=False) == [(1, []), (2, []), (3, []), (4, [])]


def test_the_same_words_are_not_enough_and_vectors_alone_neither():
    rows = [row(1, LONG), row(2, LONG + " today")]
    apart = lambda ids: np.eye(2, dtype=np.float32)[: len(ids)]  # noqa: E731
    assert kept(rows, vectors=apart) == [(1, []), (2, [])]
    rows = [row(1, LONG), row(2, "telescopes show distant galaxies")]
    together = lambda ids: np.ones((len(ids), 1), np.float32)  # noqa: E731
    assert kept(rows, vectors=together) == [(1, []), (2, [])]


def test_texts_that_differ_in_a_number_are_no_duplicates():
    rows = [row(1, LONG + " at 12"), row(2, LONG + " at 13")]
    assert kept(rows, vectors=lambda ids: np.ones((len(ids), 1), np.float32)) == [(1, []), (2, [])]


def test_vectors_are_read_only_where_words_agree():
    def none(ids):
        pytest.fail("no vectors are needed")

    assert len(kept([row(i, text) for i, text in enumerate(["a b c", "d e f", "a  b c"])], vectors=none)) == 2


def test_few_hits_of_one_document_and_a_record_is_one():
    rows = [row(1, "a"), row(2, "b"), row(3, "c", "/b.csv", "1"), row(4, "d", "/b.csv", "2"), row(5, "e")]
    rows.append(row(6, "f", "/b.csv", "1"))
    assert [id for id, _ in kept(rows, per_document=1)] == [1, 3, 4]
    assert [id for id, _ in kept(rows, per_document=2)] == [1, 2, 3, 4, 6]
    assert [id for id, _ in kept(rows, k=2, per_document=1)] == [1, 3]


def test_a_duplicate_takes_no_place_of_its_document():
    rows = [row(1, "a b"), row(2, "a  b"), row(3, "c")]
    assert kept(rows, per_document=2) == [(1, [2]), (3, [])]


TWIN = "pays the rent for the boat house to Bob on the first day of each month, by bank transfer, and keeps the receipt"


def same(ids):
    return np.ones((len(ids), 1), np.float32)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Alice " + TWIN, "Alice never " + TWIN),
        ("Alice " + TWIN, "Alice does not " + TWIN),
        ("They do pay: Alice " + TWIN, "They don't pay: Alice " + TWIN),
        (f"{TWIN} while a + b > c", f"{TWIN} while a - b > c"),
        (f"{TWIN} if size < limit", f"{TWIN} if size > limit"),
        (f"In C we say: {TWIN}", f"In C++ we say: {TWIN}"),
        (f"In C# we say: {TWIN}", f"In C++ we say: {TWIN}"),
        (f"Plan A: {TWIN}", f"Plan B: {TWIN}"),
    ],
)
def test_few_words_that_turn_the_meaning_keep_texts_apart(one, other):
    assert kept([row(1, one), row(2, other, "/b.txt")], vectors=same) == [(1, []), (2, [])]


def test_a_word_that_the_query_names_keeps_texts_apart():
    rows = [row(1, "in winter " + TWIN), row(2, "in summer " + TWIN, "/b.txt")]
    assert kept(rows, vectors=same) == [(1, [2])]
    assert kept(rows, vectors=same, query="rent in summers") == [(1, []), (2, [])]


def pages(
    n, name="install.md", text="Download the {n}.0 installer. Behind a firewall set the proxy in the {n}.0 settings."
):
    return [row(i, text.format(n=i), f"/v{i}/{name}") for i in range(1, n + 1)]


def test_versions_of_a_page_take_two_places():
    rows = [*pages(6), row(7, "The installer hangs behind a firewall", "/faq.md")]
    assert kept(rows, vectors=same) == [(1, [3, 4, 5, 6]), (2, []), (7, [])]
    assert kept(rows, vectors=same, versions=1)[0] == (1, [2, 3, 4, 5, 6])
    assert [id for id, _ in kept(rows, vectors=same, query="the 5.0 installer")] == [1, 2, 5, 7]
    named = [replace(each, path=f"/docs/manual_v{each.id}.md") for each in pages(4)]
    assert [id for id, _ in kept(named, vectors=same)] == [1, 2]


def test_the_same_numbers_in_files_of_other_names_or_in_records_are_no_versions():
    invoices = [replace(each, path=f"/inv-00{each.id}.txt") for each in pages(4)]
    assert len(kept(invoices, vectors=same)) == 4
    prices = [replace(each, path="/prices.csv", record=str(each.id)) for each in pages(4)]
    assert len(kept(prices, vectors=same)) == 4


def test_a_licence_in_every_package_takes_two_places():
    licence = "Copyright (c) {year} {who}. Permission is hereby granted, free of charge, to any person obtaining a copy"
    rows = [row(i, licence.format(year=2000 + i, who=f"Author Number{i}"), f"/p{i}/LICENSE") for i in range(5)]
    assert len(kept(rows, vectors=same)) == 2


def test_the_difference_is_told():
    [first, _] = select([*pages(3)], same, 10)
    assert first.duplicates[0].difference == "1.0 → 3.0, 1.0 → 3.0"
    assert difference("Alice pays", "Alice never  pays") == "+ never"
    assert difference("a b", "A\nb") is None
    assert difference("a x b", "a b") == "- x"
