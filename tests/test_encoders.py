"""Which encoder a name or a set of flags means."""

import json

import pytest

from indexer.embedding import presets
from indexer.embedding.encoder import DEFAULT_MODEL, EncoderSpec
from indexer.errors import ConfigError
from semsearch import encoders


def test_a_name_may_name_any_kind_of_encoder(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('model = "hash:32"\ntemplate = "about: {text}"\n')
    adapter = tmp_path / "run"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    (adapter / "encoder.json").write_text(json.dumps({"model": DEFAULT_MODEL, "template": "{text} is", "layers": 3}))

    assert encoders.named("none") == EncoderSpec()
    assert encoders.named("minilm") == presets.presets()["minilm"]
    assert encoders.named(str(file)) == EncoderSpec(model="hash:32", template="about: {text}")
    assert encoders.named("hash:64") == EncoderSpec(model="hash:64")
    assert encoders.named(str(adapter)) == EncoderSpec(adapter=str(adapter), template="{text} is", layers=3)
    shipped = encoders.named("sts")
    assert (shipped.model, shipped.adapter) == (DEFAULT_MODEL, "sts")
    assert shipped.template != EncoderSpec().template


def test_a_file_that_describes_no_encoder_is_named(tmp_path):
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    with pytest.raises(ConfigError, match=r"broken\.json"):
        encoders.named(str(broken))
