"""The exceptions that speak to users."""


class UserError(Exception):
    """A mistake that the user can mend: what was given, what is allowed, what to try.

    The command line prints the message without a traceback and exits with status 2.
    """


class CannotWrite(UserError):
    """A file cannot be written: no room, no permission. Never the outcome of one metric alone."""
