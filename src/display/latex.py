"""Writes LaTeX that shows text as it is: no sign of it is a command."""

from src.cli.terminal import one_line

SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "[": "{[}", "]": "{]}", "*": "{*}", "×": r"$\times$", "−": "$-$", "≥": r"$\geq$",
}  # fmt: skip
"""A bracket or a star behind the end of a row would be an option of it."""


def escaped(text: object) -> str:
    r"""Escapes text for LaTeX, on one line.

    >>> escaped(r"a_b & 5 % \input{x}")
    'a\\_b \\& 5 \\% \\textbackslash{}input\\{x\\}'
    """
    return "".join(SPECIAL.get(letter, letter) for letter in one_line(text))
