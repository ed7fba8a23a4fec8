"""The one exception that is the user's to mend."""


class UserError(Exception):
    """Something the user can put right: the command line prints it as one line and exits with status 1.

    The message says what is wrong, where, and what to do about it.
    """
