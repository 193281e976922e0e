"""Descriptions of encoders: what is stored of them stays readable, and fingerprints stay what they were."""

import json

import pytest

from indexer.embedding.spec import EncoderSpec
from indexer.errors import ConfigError
from tests.conftest import ROOT

RESULTS = sorted((ROOT / "scripts" / "results").rglob("*.json"))


def recorded() -> dict[str, dict]:
    """Fingerprint → description, as results of earlier versions hold them (made by the scripts that measured)."""
    found = {}
    for path in RESULTS:
        encoder = json.loads(path.read_text("utf-8")).get("encoder")
        if encoder and "spec" in encoder:
            found[encoder["fingerprint"]] = encoder["spec"]
    return found


def test_fingerprints_of_earlier_results() -> None:
    known = recorded()
    assert len(known) > 5
    assert {EncoderSpec.from_dict(spec).fingerprint for spec in known.values()} == set(known)
    for spec in known.values():
        assert EncoderSpec.from_dict(spec).to_dict() | spec == EncoderSpec.from_dict(spec).to_dict()


@pytest.mark.parametrize(
    ("fields", "fingerprint"),
    [
        # computed by the version before normalise became normalize_text in Python (fa6e2ae)
        ({"model": "m", "weights": "w"}, "881145a393f98675"),
        ({"model": "m", "weights": "w", "normalise": False}, "2db09bd59c585eaf"),
        ({"weights": "w", "adapter": "a", "adapter_weights": "b", "demonstrations": [["a", "b"]]}, "0188e562537fed1e"),
        (
            {"weights": "w", "layers": [0, 2], "query_template": "q {text}", "capitals": "lower"},
            "e38ffbb296598490",
        ),
    ],
)
def test_golden_fingerprints(fields: dict, fingerprint: str) -> None:
    assert EncoderSpec.from_dict(fields).fingerprint == fingerprint


def test_files_say_normalise_and_python_normalize_text() -> None:
    spec = EncoderSpec(normalize_text=False)
    assert spec.to_dict()["normalise"] is False
    assert "normalize_text" not in spec.to_dict()
    assert EncoderSpec.from_dict({"normalise": False}) == EncoderSpec.from_dict({"normalize_text": False}) == spec
    assert EncoderSpec().override({"normalise": False}) == spec == EncoderSpec().override({"normalize_text": False})
    assert EncoderSpec.from_dict(spec.to_dict()) == spec
    assert spec.difference(EncoderSpec()) == {"normalize_text": (False, True)}


def test_an_unknown_field_or_a_wrong_value_is_named() -> None:
    with pytest.raises(ConfigError, match=r"mine\.toml: unknown field normalyse; fields are model, .*normalise"):
        EncoderSpec.from_dict({"normalyse": False}, "mine.toml")
    with pytest.raises(ConfigError, match=r"mine\.toml: normalise is 'no'; it is true or false"):
        EncoderSpec.from_dict({"normalise": "no"}, "mine.toml")
    with pytest.raises(ConfigError, match=r"adapter x: pooling is 'max'; it is one of last"):
        EncoderSpec().override({"pooling": "max"}, "adapter x")
