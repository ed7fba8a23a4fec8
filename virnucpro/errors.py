"""Errors that the user can fix, and their messages."""

import errno
import os

_CURES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "; free space, then run the same command again"),
    **dict.fromkeys((errno.EIO, errno.ESTALE), "; the file system failed: run the same command again when it works"),
    errno.ENAMETOOLONG: "; give a shorter path",
    errno.ELOOP: "; give the path of the file itself",
    **dict.fromkeys((errno.EACCES, errno.EROFS), "; change the permissions, or give another path"),
}


class UserError(Exception):
    """Error that the user can fix: the command line prints it as one line and exits with status 1.

    The message says what is wrong, where, and what to do next.
    """

    def __str__(self) -> str:
        """Return the message as one line."""
        return printable(super().__str__())


def printable(text: str) -> str:
    """Return text with ? for characters that break lines or control a terminal, such as those of an odd path."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def describe_error(error: UserError | OSError) -> str:
    """Return the message of an error; for an error of the system, the file, the reason and a cure."""
    if isinstance(error, UserError) or not error.strerror:
        return str(error)
    place = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
    return printable(f"{place}{error.strerror}{_CURES.get(error.errno or 0, '')}")
