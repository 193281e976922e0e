"""200 damaged files of every format through the readers, as scripts/research/fuzz_readers.py does with more."""

import pytest

from scripts.research.fuzz_readers import damaged, outcome
from tests.corpus.samples import SAMPLES

FILES = 200


def test_the_same_seed_damages_a_file_in_the_same_way() -> None:
    assert damaged(SAMPLES["csv"], "csv 7") == damaged(SAMPLES["csv"], "csv 7") != damaged(SAMPLES["csv"], "csv 8")


@pytest.mark.parametrize("ending", SAMPLES)
def test_a_damaged_file_gives_documents_or_a_reason(ending: str) -> None:
    outcomes = {outcome(ending, damaged(SAMPLES[ending], f"{ending} {number}")) for number in range(FILES)}
    assert outcomes <= {"read", "in part", "skipped", "failed"}
    assert outcome(ending, SAMPLES[ending]) in ("read", "in part"), "the sample itself is not read"
