"""How far it is from the door to the model: the project's own frames between Collection and the encoder.

The bounds are what the code has today; a layer that is added shows up here.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

import indexer
import semsearch
from indexer.embedding.hash_encoder import HashEncoder
from semsearch import Collection, EncoderOverrides

OWN = tuple(f"{Path(package.__file__).parent}/" for package in (indexer, semsearch))
MODEL = {HashEncoder.encode.__code__, HashEncoder.encode_batches.__code__, HashEncoder.encode_terms.__code__}


class Walk:
    """Listens to every call, and keeps the own frames above each call of the model."""

    def __init__(self):
        self.chains: list[list[str]] = []
        self.calls = 0

    def __call__(self, frame, event, argument):
        if event != "call" or not frame.f_code.co_filename.startswith(OWN):
            return
        self.calls += 1
        if frame.f_code not in MODEL or frame.f_back.f_code in MODEL:
            return
        chain = []
        while (frame := frame.f_back) is not None:
            if frame.f_code.co_filename.startswith(OWN) and "<" not in frame.f_code.co_name:
                chain.append(frame.f_code.co_qualname)
        self.chains.append(chain)

    def during(self, what):
        """Call ``what`` and listen, to its threads too."""
        threading.setprofile(self)
        sys.setprofile(self)
        try:
            what()
        finally:
            sys.setprofile(None)
            threading.setprofile(None)
        return self


@pytest.fixture
def docs(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "boats.md").write_text("# Boats\n\nA sailing boat crosses the bay. It is late.\n")
    (tmp_path / "docs" / "bread.md").write_text("# Bread\n\nKnead the dough. Let it rise.\n")
    return Collection("docs", create=True, home=tmp_path / "home", encoder=EncoderOverrides(model="hash:64"))


def test_from_a_files_text_to_its_vector(docs, tmp_path):
    walk = Walk().during(lambda: docs.index(tmp_path / "docs"))
    deepest = max(walk.chains, key=len)
    assert deepest[-1] == "Collection.index"
    assert len(deepest) <= 6, deepest


def test_from_a_query_to_its_hits(docs, tmp_path):
    docs.index(tmp_path / "docs")
    docs.search("bread")  # opens what is opened once
    for options in ({}, {"explain": True, "min_confidence": 0.0}):
        walk = Walk().during(lambda: docs.search("boat in a bay", **options))  # noqa: B023 - called at once
        [chain] = walk.chains  # the model reads the query once, whatever is asked
        assert chain[-1] == "Collection.search"
        assert len(chain) <= 5, chain
