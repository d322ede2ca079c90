"""The programs; ``byname`` lists them (:mod:`launch.cli`)."""

import logging
import os
import sys


def _end(kind, error, trace) -> None:
    """Ctrl-C ends a program with a sentence, also while it is still importing."""
    if issubclass(kind, KeyboardInterrupt):
        print("\nstopped", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _end

# Of torch's own log, before torch is loaded: errors. Its warnings are for who works on torch.
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")

# DeepSpeed, where it is installed, warns on import that a machine without a GPU has none.
logging.getLogger("DeepSpeed").addFilter(
    lambda record: "Setting accelerator to CPU" not in record.getMessage()
)
