"""The one exception that a user's mistake raises."""

from __future__ import annotations


class UserError(ValueError):
    """A mistake that the user can mend: what was expected, what came, and the way out.

    The command line prints it without a traceback and exits with status 2.

    >>> print(UserError("setting beta", expected="a number in [0, 1)", got=1.5, fix="choose 0.9"))
    setting beta
      expected: a number in [0, 1)
      got:      1.5
      fix:      choose 0.9
    """

    def __init__(self, what: str, *, expected: object, got: object, fix: str):
        self.what, self.expected, self.got, self.fix = what, expected, got, fix
        super().__init__(f"{what}\n  expected: {expected}\n  got:      {got}\n  fix:      {fix}")


class Interrupted(Exception):  # noqa: N818
    """Training stopped on SIGTERM or SIGUSR1, with a checkpoint to go on from; exit status 75."""
