"""Settings for a process that trains: one thread, no progress bars, memory kept."""

from __future__ import annotations

from study.freed_memory import keep_freed_memory


def be_one_quiet_thread() -> None:
    """Use one thread, as every worker does, and keep libraries from drawing progress bars.

    On small models several threads are slower than one, and workers would fight over the cores.
    """
    import torch
    from transformers.utils import logging

    torch.set_num_threads(1)
    keep_freed_memory()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
