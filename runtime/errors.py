"""Errors that reach the user as one line: what is wrong, with which value, and what to do."""


class FrcrnExportError(Exception):
    """Base of every error this package raises on purpose."""

    exit_code = 1


class UserError(FrcrnExportError):
    """The input cannot be used; the message names the value and the next command."""

    exit_code = 2


class AudioError(UserError):
    """An audio file or array is empty, unreadable, not finite or of the wrong shape."""


class BundleError(UserError):
    """A bundle is missing a file, was altered, or its manifest cannot be read."""


class BackendError(UserError):
    """A backend is unknown, not installed, or cannot run this bundle here."""


class CheckpointError(UserError):
    """A checkpoint is missing, truncated, unsafe to load, or belongs to another network."""


class CheckFailed(FrcrnExportError):
    """The input was fine and a check (parity, quality, regression) missed its floor."""
