"""Random models of transformers' architectures, two layers of width 16, built without a network."""

from __future__ import annotations

from typing import Any

import torch
import transformers

from study.bases.load import BaseModel

_HIDDEN: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
LLAMA: dict[str, Any] = {**_HIDDEN, "num_key_value_heads": 1, "head_dim": 8}
_GEMMA = {**LLAMA, "final_logit_softcapping": 3.0, "query_pre_attn_scalar": 8}
_GPT: dict[str, Any] = {"n_embd": 16, "n_layer": 2, "n_head": 2}
_MIXTURE: dict[str, Any] = {
    **LLAMA,
    "num_experts": 2,
    "num_local_experts": 2,
    "num_experts_per_tok": 1,
    "moe_intermediate_size": 16,
}
_T5: dict[str, Any] = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
_BART: dict[str, Any] = {
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "max_position_embeddings": 64,
}
_CAUSAL, _SEQ2SEQ = "AutoModelForCausalLM", "AutoModelForSeq2SeqLM"
_CLASSES, _MASKED = "AutoModelForSequenceClassification", "AutoModelForMaskedLM"

TINY: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": (_CAUSAL, _GPT),
    "opt": (_CAUSAL, {**_HIDDEN, "ffn_dim": 32, "word_embed_proj_dim": 16}),
    "gemma2": (_CAUSAL, _GEMMA),
    "gemma3_text": (_CAUSAL, _GEMMA),
    "cohere": (_CAUSAL, {**LLAMA, "logit_scale": 0.25}),
    "granite": (_CAUSAL, {**LLAMA, "logits_scaling": 4.0, "embedding_multiplier": 3.0}),
    "llama": (_CAUSAL, LLAMA),
    "mistral": (_CAUSAL, LLAMA),
    "qwen2": (_CAUSAL, LLAMA),
    "qwen3": (_CAUSAL, LLAMA),
    "qwen3_moe": (_CAUSAL, _MIXTURE),
    "mixtral": (_CAUSAL, _MIXTURE),
    "gpt_oss": (_CAUSAL, _MIXTURE),
    "qwen2_moe": (_CAUSAL, {**_MIXTURE, "shared_expert_intermediate_size": 16}),
    "phi": (_CAUSAL, _HIDDEN),
    "phi3": (_CAUSAL, {**_HIDDEN, "num_key_value_heads": 1}),
    "falcon": (_CAUSAL, _HIDDEN),
    "bloom": (_CAUSAL, {"hidden_size": 16, "n_layer": 2, "n_head": 2}),
    "gpt_neox": (_CAUSAL, _HIDDEN),
    "mamba": (_CAUSAL, {"hidden_size": 16, "num_hidden_layers": 2, "state_size": 4}),
    "bert": (_CLASSES, _HIDDEN),
    "roberta": (_CLASSES, _HIDDEN),
    "xlm-roberta": (_CLASSES, _HIDDEN),
    "deberta-v2": (_CLASSES, {**_HIDDEN, "relative_attention": True}),
    "electra": (_CLASSES, {**_HIDDEN, "embedding_size": 8}),
    "albert": (_CLASSES, {**_HIDDEN, "embedding_size": 8}),
    "distilbert": (_CLASSES, {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32}),
    "modernbert": (_CLASSES, _HIDDEN),
    "eurobert": (_MASKED, LLAMA),
    "t5": (_SEQ2SEQ, _T5),
    "mt5": (_SEQ2SEQ, _T5),
    **dict.fromkeys(("bart", "mbart", "m2m_100", "marian", "pegasus"), (_SEQ2SEQ, _BART)),
}
"""Model type -> the class that loads it, and its settings."""

_TOKENS = {
    "vocab_size": 64,
    "pad_token_id": 1,
    "bos_token_id": 2,
    "eos_token_id": 3,
    "cls_token_id": 2,
    "sep_token_id": 3,
    "mask_token_id": 4,
    "decoder_start_token_id": 2,
    "num_labels": 3,
}


def random_base(
    model_type: str,
    device: str = "meta",
    loader: str | None = None,
    dtype: torch.dtype | None = None,
    spread: float = 0.0,
    **changes: Any,
) -> BaseModel:
    """Return a frozen random model without a tokenizer; on `meta` it has no memory.

    Its weights are moved by `spread`, since transformers draws them small.
    """
    usual, settings = TINY[model_type]
    loader = loader or usual
    config = transformers.AutoConfig.for_model(model_type, **{**_TOKENS, **settings, **changes})
    with torch.random.fork_rng(devices=[]), torch.device(device):
        torch.manual_seed(0)
        model = getattr(transformers, loader).from_config(config, dtype=dtype)
        for weight in model.parameters() if spread else ():
            weight.data += spread * torch.randn_like(weight)
    return BaseModel(model.eval().requires_grad_(False), None, model_type, loader=loader)
