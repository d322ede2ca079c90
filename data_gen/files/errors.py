"""Errors that a user can fix: the base class, and those that are caught by kind."""

from data_gen.files.redaction import redacted


class InputError(ValueError):
    """Something that was given cannot be used: a setting, a file, a row.

    The message is one sentence: what is wrong, where, and what to do. Programs print it without a
    traceback; :func:`data_gen.files.redaction.redacted` takes keys and passwords out of it. Only
    :class:`rewards.loading.RewardError` does not derive from it, as ``rewards`` imports nothing of
    ours; it is a ``ValueError``, too.
    """

    def __init__(self, message: object = ""):
        super().__init__(redacted(str(message)))


class SourceError(InputError):
    """A source cannot give what was asked for. The message names the file and the remedy."""


class ImageError(InputError):
    """One image cannot be used; what needs it is skipped.

    Args:
        where: the image, as shown to the user.
        reason: why, in a few words that do not name the image, so that reasons can be counted.
    """

    def __init__(self, where: str, reason: str):
        super().__init__(f"{where}: {reason}")
        self.where, self.reason = where, reason
