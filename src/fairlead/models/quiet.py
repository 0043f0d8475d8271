"""Silence for what libraries say while they load and save: Fairlead has its own progress and its own errors."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr


@contextmanager
def quiet() -> Iterator[None]:
    """Within the block transformers and PEFT show, warn and log nothing; what is wrong they raise.

    Some of its progress bars heed no setting, so what Python writes to stderr is held back as well.
    """
    from huggingface_hub.utils import logging as hub_logging
    from transformers.utils import logging as model_logging

    levels = [(library, library.get_verbosity()) for library in (hub_logging, model_logging)]
    bars = model_logging.is_progress_bar_enabled()
    for library, _ in levels:
        library.set_verbosity(logging.ERROR)
    model_logging.disable_progress_bar()
    try:
        with redirect_stderr(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for library, level in levels:
            library.set_verbosity(level)
        if bars:
            model_logging.enable_progress_bar()
