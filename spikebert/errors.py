"""The one exception that a user's mistake raises."""

from __future__ import annotations

LONGEST = 440  # characters of each part of a message, so that all of it fits one screen
MOST_LINES = 5


def brief(value: object) -> str:
    r"""What a message may show of a value: its beginning, no control characters, few lines.

    Texts and names of files come from others, and could move the cursor of a terminal.

    >>> print(brief("a \x1b[31m film"))
    a \x1b[31m film
    """
    text = str(value)
    short = text[:LONGEST] + (" ..." if len(text) > LONGEST else "")
    lines = short.splitlines() or [""]
    lines = [*lines[:MOST_LINES], *(["..."] if len(lines) > MOST_LINES else [])]
    shown = ["".join(c if c.isprintable() else ascii(c)[1:-1] for c in line) for line in lines]
    return "\n".join(shown)[: LONGEST + 40]


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
        what, expected, got, fix = map(brief, (what, expected, got, fix))
        super().__init__(f"{what}\n  expected: {expected}\n  got:      {got}\n  fix:      {fix}")

    def changed(self, what: str, fix: str) -> UserError:
        """The same mistake under another name, with another way out."""
        return UserError(what, expected=self.expected, got=self.got, fix=fix)


class Interrupted(Exception):  # noqa: N818
    """Training stopped on SIGTERM or SIGUSR1, with a checkpoint to go on from; exit status 75."""
