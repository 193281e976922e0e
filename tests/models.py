"""Tiny random models of every family, with a tokenizer, made in process: the real ones are far too large for tests.

Weights are drawn wide enough (standard deviation 0.2 at width 32) that every block changes the result.
"""

from __future__ import annotations

import json
from pathlib import Path

CAUSAL = ("llama", "opt", "opt-350m", "gpt2", "qwen3", "gemma3")
ENCODERS = ("bert", "roberta", "t5")
FAMILIES = CAUSAL + ENCODERS

_BLOCKS, _HEADS, _POSITIONS = 3, 4, 160

_TEXTS = [
    'This sentence : "A man is riding a horse in the park." means in one word:"Riding".',
    'This sentence : "The stock market fell on Friday." means in one word:"Decline".',
    'This sentence: "A jockey is riding a horse." means in one word: "Equestrian".',
    "Two dogs are running on the beach, and the waves are high.",
    "What is the boundary layer of a flat plate in supersonic flow?",
]


def make(family: str, folder: Path, width: int = 32) -> Path:
    """A new folder ``folder/family`` in transformers' layout: config.json, model.safetensors, tokenizer files."""
    import torch
    import transformers

    target = folder / family
    target.mkdir(parents=True)
    size = _write_tokenizer(family, target)
    shape = {
        "vocab_size": size,
        "hidden_size": width,
        "num_hidden_layers": _BLOCKS,
        "num_attention_heads": _HEADS,
        "max_position_embeddings": _POSITIONS,
        "initializer_range": 0.2,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    grouped = {**shape, "intermediate_size": 48, "num_key_value_heads": 2, "head_dim": 8}
    bert = {**shape, "intermediate_size": 48, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    opt = {**shape, "ffn_dim": 48, "dropout": 0.0}
    torch.manual_seed(sum(map(ord, family)))
    match family:
        case "llama":
            model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**grouped, tie_word_embeddings=True))
        case "opt":
            model = transformers.OPTForCausalLM(transformers.OPTConfig(**opt, word_embed_proj_dim=width))
        case "opt-350m":  # as the real one: embeddings projected from a smaller width, norm after each block, none last
            model = transformers.OPTForCausalLM(
                transformers.OPTConfig(**opt, word_embed_proj_dim=16, do_layer_norm_before=False)
            )
        case "gpt2":
            model = transformers.GPT2LMHeadModel(
                transformers.GPT2Config(**shape, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
            )
        case "qwen3":
            model = transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**grouped, tie_word_embeddings=False))
        case "gemma3":  # two of its three blocks see a window of 16 tokens only
            layers = ["sliding_attention", "full_attention", "sliding_attention"]
            model = transformers.Gemma3ForCausalLM(
                transformers.Gemma3TextConfig(**grouped, sliding_window=16, layer_types=layers)
            )
        case "bert":
            model = transformers.BertModel(transformers.BertConfig(**bert))
        case "roberta":
            model = transformers.RobertaModel(transformers.RobertaConfig(**{**bert, "type_vocab_size": 1}))
        case "t5":
            model = transformers.T5EncoderModel(
                transformers.T5Config(
                    vocab_size=size, d_model=width, d_kv=8, d_ff=48, num_layers=_BLOCKS, num_heads=_HEADS,
                    dropout_rate=0.0, pad_token_id=0, eos_token_id=2, initializer_factor=3.0,
                )
            )  # fmt: skip
        case _:
            raise ValueError(f"no tiny model of family {family!r}; there are {', '.join(FAMILIES)}")
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:  # norms and biases start at 1 and 0, where a wrong order of operations may not show
            parameter.data += torch.randn_like(parameter) * (0.1 if "norm" in name.lower() else 0.05)
    model.eval().save_pretrained(target)
    return target


def make_lora(base: Path, folder: Path, modules: list[str], rank: int = 4, causal: bool = True) -> Path:
    """A random LoRA adapter for the model in ``base``, written by peft as training a model with LM head would."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModel, AutoModelForCausalLM

    model = (AutoModelForCausalLM if causal else AutoModel).from_pretrained(base)
    wrapped = get_peft_model(model, LoraConfig(r=rank, lora_alpha=8, target_modules=modules))
    torch.manual_seed(1)
    for name, parameter in wrapped.named_parameters():
        if "lora_" in name:
            parameter.data = torch.randn_like(parameter) * 0.2
    wrapped.save_pretrained(folder)
    return folder


def _write_tokenizer(family: str, folder: Path) -> int:
    """Train a small tokenizer with the family's special tokens; returns its size."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    named = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    special = list(named.values())
    if family == "bert":
        named = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
        named["mask_token"] = "[MASK]"
        special = list(named.values())
        tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.WordPiece()
        trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=special, show_progress=False)
    else:
        if family == "roberta":
            named["mask_token"] = "<mask>"
            special = list(named.values())
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=special,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
    tokenizer.train_from_iterator(_TEXTS * 3, trainer)
    around = {
        "opt": "<s> $A", "opt-350m": "<s> $A", "gemma3": "<s> $A", "roberta": "<s> $A </s>", "t5": "$A </s>",
        "bert": "[CLS] $A [SEP]",
    }.get(family)  # fmt: skip
    if around:
        tokens = [token for token in around.split() if token != "$A"]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=around, special_tokens=[(token, special.index(token)) for token in tokens]
        )
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **named}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2), "utf-8")
    return tokenizer.get_vocab_size()
