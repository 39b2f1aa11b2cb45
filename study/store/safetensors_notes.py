"""Notes in the header of a safetensors file, read and written without torch.

The format: eight bytes with the length of the header, a JSON object that describes the tensors and
may hold texts under `__metadata__`, then the tensors.  Places of tensors count from the header's
end, so notes may be added to a file that is written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

LENGTH = 8
MOST = 100_000_000
"""Bytes of a header; the format's own limit."""
NOTES = "__metadata__"


def notes_of(data: bytes) -> dict[str, Any]:
    """Return the notes, each read as JSON.

    Raises:
        ValueError: these are not the bytes of such a file.
    """
    header, _ = _parts(data)
    notes = header.get(NOTES, {})
    if not isinstance(notes, dict):
        raise ValueError("the notes are no object")
    return {name: json.loads(text) for name, text in notes.items()}


def with_notes(data: bytes, notes: Mapping[str, Any]) -> bytes:
    """Return the bytes with further notes, as JSON; those of the same name are replaced."""
    header, tensors = _parts(data)
    written = {name: json.dumps(note) for name, note in notes.items()}
    header[NOTES] = {**header.get(NOTES, {}), **written}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % LENGTH)  # the format aligns the tensors
    return len(text).to_bytes(LENGTH, "little") + text + tensors


def _parts(data: bytes) -> tuple[dict[str, Any], bytes]:
    end = LENGTH + int.from_bytes(data[:LENGTH], "little")
    if not LENGTH < end <= min(len(data), LENGTH + MOST):
        raise ValueError("the header's length is wrong")
    header = json.loads(data[LENGTH:end])
    if not isinstance(header, dict):
        raise ValueError("the header is no object")
    return header, data[end:]
