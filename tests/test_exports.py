"""The names that a user imports: a change here is a change of the interface, and belongs into CHANGELOG.md."""

import subprocess
import sys

import pytest

import semsearch
from indexer import errors

NAMES = [
    "Answer",
    "ClusterError",
    "Collection",
    "CollectionNotFound",
    "ConfigError",
    "CorruptError",
    "DataError",
    "Duplicate",
    "Encoder",
    "EncoderOverrides",
    "EncoderSpec",
    "Explanation",
    "Extract",
    "Filter",
    "FormatError",
    "GateFailed",
    "Hit",
    "Judgement",
    "LockedError",
    "MemoryStore",
    "MismatchError",
    "MissingExtra",
    "ModelError",
    "NothingToRead",
    "PrecisionError",
    "Problem",
    "ReadError",
    "ReadOptions",
    "Report",
    "SearchRequest",
    "SemsearchError",
    "Settings",
    "SimilarRequest",
    "Status",
    "StoreError",
    "TrainingError",
    "UsageError",
    "Weights",
]


def test_the_exported_names():
    assert sorted(semsearch.__all__) == NAMES
    assert set(semsearch._MODULES) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_there(name):
    assert getattr(semsearch, name).__name__ == name
    assert name in dir(semsearch)


def test_every_error_is_exported():
    own = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, errors.SemsearchError)]
    assert {each.__name__ for each in own} <= set(NAMES)


def test_a_name_that_is_none():
    with pytest.raises(AttributeError, match="no attribute 'Collections'"):
        _ = semsearch.Collections


def loaded(code):
    out = subprocess.run(
        [sys.executable, "-c", f"import sys; {code}; print(*sys.modules)"], capture_output=True, text=True, check=True
    ).stdout
    return set(out.split())


HEAVY = {"torch", "transformers", "faiss", "sqlalchemy", "numpy", "rich", "click", "ray"}


def test_importing_semsearch_imports_nothing_heavy():
    assert not loaded("import semsearch; dir(semsearch)") & HEAVY


def test_a_collection_loads_no_model_before_it_needs_one():
    assert not loaded("from semsearch import Collection, SearchRequest, UsageError") & {"torch", "transformers"}
