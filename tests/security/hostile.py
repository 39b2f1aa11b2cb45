"""A study whose every text is an attack: on the browser, on the terminal, on whoever unpickles."""

from __future__ import annotations

import json
import pickle
import sqlite3
import zlib
from contextlib import closing
from pathlib import Path

from tests.synthetic import Shape, write_study

_HEADER = b'{"weight":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
ONE_WEIGHT = len(_HEADER).to_bytes(8, "little") + _HEADER + bytes(4)
"""A sound safetensors file of one number."""
MARKUP = (
    "</title></style></script></text></svg></pre><script>alert(1)</script>"
    "<img src=http://127.0.0.1:9/x onerror=alert(2)><a href='javascript:alert(3)'>x</a>"
    "<base href=http://127.0.0.1:9/><meta http-equiv=refresh content='0;url=http://127.0.0.1:9/'>"
    "\" onmouseover=alert(4) style=position:fixed;background:url(http://127.0.0.1:9/) x='"
    "{{ 7 * 7 }}{% raw %} ]]> --> &lt;b&gt; $\\frac{1}{2}$"
)
STEERING = (
    "\x1b[2J\x1b]0;title\x07\x1b]8;;http://127.0.0.1:9/\x1b\\link\x1b]8;;\x1b\\\x9b31m\x90q\x9c\r\b\x7f"
    "[red]markup[/red][/][link=http://127.0.0.1:9/]x[/link]\u2028"
)
HOSTILE = MARKUP + STEERING


class Payload:
    """What touches a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.marker,)


def payload(marker: Path) -> bytes:
    """Return a pickle that touches `marker` when it is loaded."""
    return pickle.dumps(Payload(marker))


def write_hostile(folder: Path) -> Path:
    """Write a run folder that is sound but for its texts, all of which are HOSTILE."""
    write_study(folder, Shape(complete=12, failed=2, pruned=1, examples=9))
    told = json.dumps(HOSTILE)
    with closing(sqlite3.connect(folder / "study.db")) as connection:
        run = connection.execute
        run("UPDATE studies SET study_name = ?", (HOSTILE,))
        run("UPDATE trial_params SET param_name = ? WHERE param_name = 'dropout'", (HOSTILE,))
        run(
            "UPDATE trial_params SET distribution_json = replace(distribution_json, ?, ?)",
            ('"attention"', told),
        )
        run(
            "UPDATE trial_user_attributes SET value_json = ? WHERE key = 'failure'",
            (told,),
        )
        run(
            "INSERT INTO study_user_attributes (study_id, key, value_json) VALUES (1, ?, ?)",
            (
                HOSTILE,
                json.dumps({HOSTILE: [HOSTILE]}),
            ),
        )
        run("UPDATE study_user_attributes SET value_json = ? WHERE key = 'task'", (told,))
        check = {"verdict": HOSTILE, "compared": {HOSTILE: {"difference": HOSTILE}}}
        recorded = {HOSTILE: HOSTILE, "versions": {HOSTILE: HOSTILE}, "self_check": check}
        provenance = json.dumps(recorded)
        spec = f"name = 'x'\n# {MARKUP}\n"  # TOML holds no control characters
        run("UPDATE run_studies SET provenance = ?, spec = ?", (provenance, spec))
        run("UPDATE run_scores SET signature = ?", (HOSTILE,))
        texts = zlib.compress(json.dumps([HOSTILE] * 9).encode())
        run("UPDATE run_examples SET sources = ?, targets = ?", (texts, texts))
        run("UPDATE run_outputs SET outputs = ?", (texts,))
        run("UPDATE run_examples SET split = ? WHERE split = 'general'", (HOSTILE,))
        run("UPDATE run_evaluations SET split = ? WHERE split = 'general'", (HOSTILE,))
        run("UPDATE run_evaluations SET name = ? WHERE name = 'default'", (HOSTILE,))
        connection.commit()
    return folder
