"""Demonstration search: candidates, ranking, contamination, resuming."""

import json

import numpy as np
import pytest

from indexer.embedding.hash_encoder import HashEncoder
from indexer.embedding.spec import EncoderSpec
from indexer.errors import ConfigError, DataError, UsageError
from semsearch.evaluation.sentences.senteval_files import Items
from semsearch.training import demos
from semsearch.training.demos import Candidate


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "downstream" / "STS" / "STSBenchmark"
    folder.mkdir(parents=True)
    line = "g\tf\ty\t1\t{}\t{}\t{}\n"
    (folder / "sts-dev.csv").write_text(line.format(5, "a cat sleeps", "a cat is asleep"))
    (folder / "sts-test.csv").write_text(line.format(5, "meat from a deer that was hunted", "deer meat"))
    (folder / "sts-train.csv").write_text(line.format(2, "a man is riding a horse", "a horse runs"))
    return tmp_path


class Prompted(HashEncoder):
    """A demonstration's word joins every text: some words draw unlike texts together."""

    def __init__(self, spec):
        super().__init__(spec)
        self.words = [word for _, word in spec.demonstrations]

    def encode(self, texts, role="passage", normalize=True):
        return super().encode([" ".join([text, *self.words * 3]) for text in texts], role, normalize)


PAIRS = Items(
    ("red apple", "blue sea", "red apple", "old house noise"),
    ("red apple tree", "blue sea wave", "blue car", "noise"),
    np.array([5.0, 4.0, 0.0, 1.0]),
)
FOUND = [
    Candidate("a fruit that is red", "Red", "model"),
    Candidate("meat from a deer that was hunted!", "Venison", "model"),
    Candidate("what one hears", "Noise", "dictionary"),
]


def test_candidates_are_ranked_and_a_test_sentence_cannot_win(data, tmp_path):
    opened = []

    def opening(spec):
        opened.append(spec.demonstrations)
        return Prompted(spec)

    spec = EncoderSpec(model="hash:64")
    ranking = demos.search(spec, FOUND, PAIRS, data, tmp_path / "log.jsonl", open_encoder=opening)
    scores = [entry.score for entry in ranking.judged]
    assert scores == sorted(scores, reverse=True)
    assert ranking.harmful == np.mean([score < ranking.baseline for score in scores])
    assert {e.candidate.word: e.contaminated for e in ranking.judged} == {
        "Red": None, "Noise": None, "Venison": "meat from a deer that was hunted",
    }  # fmt: skip
    assert ranking.winner is None or ranking.winner.contaminated is None
    assert opened == [(), *(((c.sentence, c.word),) for c in FOUND)]
    assert sum(int(line.split()[-1]) for line in ranking.histogram().splitlines()) == 3

    opened.clear()  # a stopped search: the last line cut off
    text = (tmp_path / "log.jsonl").read_text()
    (tmp_path / "log.jsonl").write_text(text[: text.rindex("{") + 9] + "\n")
    assert demos.search(spec, FOUND, PAIRS, data, tmp_path / "log.jsonl", open_encoder=opening) == ranking
    assert len(opened) == 1
    with pytest.raises(ConfigError, match="another encoder"):
        demos.search(EncoderSpec(model="hash:32"), FOUND, PAIRS, data, tmp_path / "log.jsonl", open_encoder=opening)


def test_winner_is_a_preset(data, tmp_path):
    from indexer.embedding import preset

    judged = demos.JudgedCandidate(FOUND[0], 80.0, None)
    demos.save(EncoderSpec(model="hash:64"), judged, tmp_path / "best.toml")
    assert preset(str(tmp_path / "best.toml")).demonstrations == (("a fruit that is red", "Red"),)


def test_words_are_the_models_own():
    class Terms(HashEncoder):
        def terms(self, texts, k):
            ranked = [("▁", 0.5), (" of", 0.2), ("Rid", 0.2), (" Riding", 0.1)]  # a piece is no word
            return [ranked if "horse" in t else [("!", 1.0)] for t in texts]

    found = demos.own_words(Terms(), ["a horse", "a dog", "a horse", "she is riding"], 5)
    assert found == [Candidate("a horse", "Riding", "model")]


def test_dictionary(tmp_path):
    (tmp_path / "d.tsv").write_text("venison\tmeat from a deer\n\nswiss\trelating to switzerland\n")
    assert {(c.sentence, c.word) for c in demos.definitions(tmp_path / "d.tsv", 9)} == {
        ("meat from a deer", "Venison"), ("relating to switzerland", "Swiss"),
    }  # fmt: skip
    (tmp_path / "bad.tsv").write_text("venison meat\n")
    with pytest.raises(DataError, match="line 1"):
        demos.definitions(tmp_path / "bad.tsv", 9)


def test_nothing_to_search(data, tmp_path):
    with pytest.raises(UsageError, match="no candidates"):
        demos.search(EncoderSpec(model="hash:8"), [], PAIRS, data, tmp_path / "log.jsonl")
    shot = EncoderSpec(model="hash:8", demonstrations=(("a", "b"),))
    with pytest.raises(UsageError, match="already"):
        demos.search(shot, FOUND, PAIRS, data, tmp_path / "log.jsonl")


def test_command_searches_a_real_model(data, tiny_llama, tmp_path, capsys):
    from semsearch.cli import run

    (tmp_path / "d.tsv").write_text("riding\tsitting on a horse\nswiss\trelating to switzerland\n")
    dev = data / "downstream" / "STS" / "STSBenchmark" / "sts-dev.csv"
    dev.write_text("".join(f"g\tf\ty\t1\t{i}\tdogs on the beach\t{text}\n" for i, text in enumerate(
        ("a flat plate", "the stock market", "dogs run", "two dogs on the beach")
    )))  # fmt: skip
    code = run([
        "demos", "search", "--data", str(data), "--model", str(tiny_llama), "--candidates", "2", "--json",
        "--log", str(tmp_path / "log.jsonl"), "--dictionary", str(tmp_path / "d.tsv"), "--precision", "fp32",
        "--output", str(tmp_path / "winner.toml"),
    ])  # fmt: skip
    assert code == 0
    value = json.loads(capsys.readouterr().out)
    assert {"Riding", "Swiss"} <= {entry["candidate"]["word"] for entry in value["candidates"]}
    assert len({entry["score"] for entry in value["candidates"]} | {value["baseline"]}) > 1
    assert (tmp_path / "winner.toml").is_file() == (value["winner"] is not None)
