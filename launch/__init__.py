"""The programs; ``byname`` lists them (:mod:`launch.cli`)."""

import logging
import sys


def _end(kind, error, trace) -> None:
    """Ctrl-C ends a program with a sentence, also while it is still importing."""
    if issubclass(kind, KeyboardInterrupt):
        print("\nstopped", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _end

# DeepSpeed, where it is installed, warns on import that a machine without a GPU has none.
logging.getLogger("DeepSpeed").addFilter(
    lambda record: "Setting accelerator to CPU" not in record.getMessage()
)
