"""Error that the user can fix."""


class UserError(Exception):
    """Error that the user can fix: the command line prints it as one line and exits with status 1.

    The message says what is wrong, where, and what to do next.
    """
