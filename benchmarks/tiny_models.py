"""Tiny models of any type that transformers knows: its default configuration, shrunk.

Fields with the usual names shrink, at any depth: a width of 32, two layers or one of each type,
four heads, four experts, a vocabulary of 320 tokens.  `SPECIAL` has what names do not tell.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

WIDTH, HEADS, EXPERTS, VOCABULARY = 32, 4, 4, 320
HEAD_WIDTH = WIDTH // HEADS

SPECIAL_TOKENS = {
    "pad_token": "<pad>",
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "mask_token": "<mask>",
}
STOP = "<|end_of_translation|>"
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% else %} > {% endif %}{% endfor %}"
)
TEXTS = (
    ("the rig is old", "la plateforme est vieille"),
    ("a pump", "une pompe"),
    ("the crew closes the valve", "l'équipe ferme la vanne"),
    ("oil and gas", "du pétrole et du gaz"),
    ("where is the well ?", "où est le puits ?"),
    ("the pressure rises", "la pression monte"),
    ("they drill at night", "ils forent la nuit"),
    ("no leak", "aucune fuite"),
    ("the pipe is long", "le tuyau est long"),
    ("mud", "de la boue"),
    ("a new engineer checks the old pump", "une nouvelle ingénieure contrôle la vieille pompe"),
    ("the sea is calm", "la mer est calme"),
)
MOST_PARAMETERS = 8_000_000

MOST: tuple[tuple[str, int], ...] = (
    (r".*_(head_dim|head_size|head_width)|head_dim|d_kv|d_head|attention_key_size", HEAD_WIDTH),
    (r"rotary_dim|mamba_d_head|mamba_headdim", HEAD_WIDTH),
    (r"(.*_)?(num_)?(key_value|kv)_heads|n_head_kv|multi_query_group_num", 2),
    (r"(.*_)?(num_|n_)?(heads?|nhead)", HEADS),
    (r"(.*_)?(n_group|topk_group|n_shared_experts?|num_shared_experts?)", 1),
    (r"(.*_)?n_groups", 2),
    (r".*experts?_per_tok.*|.*top_?k.*|.*experts_topk|moe_k", 2),
    (r"(.*_)?(n_|num_)?(routed_|local_|zero_)?(experts?|expert_num)(_num)?", EXPERTS),
    (r"(.*_)?num_kv_shared_layers|first_k_dense_replace|hidden_size_per_layer_input", 0),
    (r"(.*_)?((n|num|hidden)_)*(layers?|blocks)|n_layers?", 2),
    (r".*(_lora_rank|lora_rank.*|lora_dim)|laurel_rank|lora_rank|time_step_rank|low_rank_dim", 8),
    (r"(.*_)?(intermediate_size|ffn_dim|ffn_hidden_size|d_ff|n_inner|ffn_size|dim_ff).*", 64),
    (r"(.*_)?(hidden_size|d_model|n_embd|embed_dim|hidden_dim|model_dim|width)", WIDTH),
    (r"(.*_)?(hidden_size|embed.*_(dim|size)).*|dim|emb_dim|.*proj.*_dim", WIDTH),
    (r"intra_bottleneck_size|attention_window|d_latents|num_latents|d_inner", WIDTH),
    (r"(max|n)_position(_embedding|ition)?s?|n_positions|max_seq.*|.*max_.*positions|n_ctx", 256),
)
"""A field's whole name, and the most that it may be; the first that fits counts."""

EXACT: Mapping[str, Any] = {
    "vocab_size": VOCABULARY,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "mask_token_id": 4,
    "decoder_start_token_id": 1,
    "sep_token_id": 2,
}
"""Fields that the tokenizer decides, whatever their default."""

UNSET: Mapping[str, int] = {
    "head_dim": HEAD_WIDTH,
    "num_key_value_heads": 2,
    "num_experts_per_tok": 2,
    "n_routed_experts": EXPERTS,
    "n_shared_experts": 1,
    "indexer_budget": 32,
    "indexer_n_heads": HEADS,
    "indexer_kv_heads": 1,
    "indexer_head_dim": HEAD_WIDTH,
    "indexer_compress_ratio": 4,
}
"""Fields that some defaults leave open and no checkpoint does."""

GROUPED = (
    ("num_attention_heads", "num_key_value_heads"),
    ("decoder_attention_heads", "decoder_key_value_heads"),
)
"""Where a default has as many groups of keys as heads, the tiny one has too."""

LAYER_TYPES = ("layer_types", "layers_block_type")
DECODES = ("is_decoder", "add_cross_attention")
"""Fields of a part that its own type leaves out; without them a decoder reads ahead."""
DERIVED = ("qk_head_dim",)
"""Fields that configurations compute from others."""

_MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 8}
_ROPE = {"full_attention": {"rope_type": "default", "rope_theta": 10000.0}}

SPECIAL: Mapping[str, Mapping[str, Any]] = {
    "bailing_hybrid": {"num_expert_group": 1},
    "bamba": {**_MAMBA, "attn_layer_indices": [1]},
    "blt": {"encoder_hash_byte_group_vocab": 100},
    "cohere_compass_text": {"rope_parameters": _ROPE},
    "granitemoehybrid": {**_MAMBA, "layer_types": ["linear_attention", "full_attention"]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "mbart": {"decoder_start_token_id": 2},  # the last label's, as in mBART-50
    "plbart": {"decoder_start_token_id": 2},
    "mistral4": {"qk_rope_head_dim": 4, "qk_nope_head_dim": 4},
    "neomme": {"head_dim": 16},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "layoutlmv3": {"coordinate_size": 4, "shape_size": 8},
    "lilt": {"hidden_size": 48},
    "longformer": {"attention_window": 8},
    "mamba2": {"num_heads": 8, "head_dim": 8, "n_groups": 1},
    "recurrent_gemma": {"num_hidden_layers": 3},
    "reformer": {"axial_pos_embds": False},
    "xmod": {"default_language": "en_XX"},
}
"""model_type -> fields that its names do not tell."""


def tiny_config(model_type: str) -> Any:
    """Return a type's default configuration, shrunk."""
    from transformers import CONFIG_MAPPING

    kind = CONFIG_MAPPING[model_type]
    default = kind()
    changes = shrunk(default)
    if getattr(default, "is_encoder_decoder", False):
        changes.setdefault("decoder_start_token_id", EXACT["decoder_start_token_id"])
    return kind(**changes, num_labels=2)


def shrunk(config: Any) -> dict[str, Any]:
    """Return the fields of a configuration that change, its parts as dictionaries."""
    from transformers import PreTrainedConfig

    changes: dict[str, Any] = {}
    for name, value in vars(config).items():
        if name in DERIVED:
            continue
        if isinstance(value, PreTrainedConfig):
            kept = {field: True for field in DECODES if getattr(value, field, False)}
            changes[name] = {"model_type": value.model_type, **kept, **shrunk(value)}
        elif name in EXACT:
            changes[name] = EXACT[name]
        elif name.endswith("_token_id") and type(value) is int and value >= VOCABULARY:
            changes[name] = 3
        elif value is None and name in UNSET:
            changes[name] = UNSET[name]
        elif type(value) is int and (most := _most(name)) is not None and value > most:
            changes[name] = most
    for heads, groups in GROUPED:
        both = getattr(config, heads, None), getattr(config, groups, None)
        if groups in changes and both[0] == both[1]:
            changes[groups] = changes[heads]
    for name in LAYER_TYPES:
        if types := vars(config).get(name):
            distinct = list(dict.fromkeys(types))
            kept = distinct if len(distinct) > 1 else distinct * 2
            changes |= {name: kept, "num_hidden_layers": len(kept)}
    return {**changes, **SPECIAL.get(config.model_type, {})}


def _most(name: str) -> int | None:
    """Return the most that a field of this name may be, or None if it is left as it is."""
    if re.fullmatch(r".*vocab_size.*|n_vocab", name):
        return VOCABULARY
    return next((most for rule, most in MOST if re.fullmatch(rule, name)), None)


def save_tiny(auto: Any, model_type: str, folder: Path) -> Any:
    """Write a tiny model of a type with drawn weights, and a tokenizer; return its class.

    Raises:
        ValueError: the shrunk configuration still makes a large model.
    """
    import torch

    config = tiny_config(model_type)
    if "CausalLM" in auto.__name__ and hasattr(config, "is_decoder"):
        config.is_decoder = True  # as a published decoder of this type has it
    with torch.device("meta"):
        parameters = sum(p.numel() for p in auto.from_config(config).parameters())
    if parameters > MOST_PARAMETERS:
        raise ValueError(f"shrunk, it still has {parameters:,} parameters")
    torch.manual_seed(0)
    model = auto.from_config(config).float()
    _draw(model)
    headless = getattr(model, "base_model", model) if "Classification" in auto.__name__ else model
    headless.save_pretrained(folder)  # the head is new, as over a published encoder
    tiny_tokenizer().save_pretrained(folder)
    return type(model)


def _draw(model: Any) -> None:
    """Draw the weights of linear layers, embeddings and experts so that every one of them counts.

    The libraries' own spread of 0.02 would leave a layer of 32 with almost no effect.
    """
    import torch
    from torch import nn

    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D":
                module.weight.normal_(0.0, WIDTH**-0.5)
                if module.bias is not None:
                    module.bias.normal_(0.0, 0.1)
            elif isinstance(module, nn.Embedding):
                module.weight.normal_(0.0, 0.5)
            elif "expert" in type(module).__name__.lower():
                for weight in module.parameters(recurse=False):
                    if weight.dim() == 3:
                        weight.normal_(0.0, WIDTH**-0.5)


def tiny_tokenizer() -> Any:
    """Return a fast tokenizer of `VOCABULARY` tokens: special ones, bytes, and a few pairs of them.

    A text ends with `</s>`.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[*SPECIAL_TOKENS.values(), STOP],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([text for pair in TEXTS for text in pair] * 4, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, **SPECIAL_TOKENS, chat_template=TEMPLATE, model_max_length=128
    )


def save_examples(folder: Path) -> None:
    """Write train and dev as pairs of texts, and as labelled pairs."""
    for split, texts in (("train", TEXTS[:8]), ("dev", TEXTS[8:])):
        pairs = ["source\ttarget", *(f"{a}\t{b}" for a, b in texts)]
        (folder / f"{split}.tsv").write_text("\n".join(pairs) + "\n", encoding="utf-8")
        labelled = ["sentence1\tsentence2\tlabel"]
        labelled += [f"{a}\t{b}\t{('yes', 'no')[i % 2]}" for i, (a, b) in enumerate(texts)]
        (folder / f"{split}-labelled.tsv").write_text("\n".join(labelled) + "\n", encoding="utf-8")
