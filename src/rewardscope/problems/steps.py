"""Split a solution into steps and join it back, losing nothing."""

DELIMITER = "\n\n"


def split_steps(text: str, delimiter: str = DELIMITER) -> list[str]:
    """Split `text` at each delimiter; `delimiter.join` of the result gives the text back, less trailing delimiters.

    A blank piece (as in four newlines in a row) is no step: it stays, with its delimiter, at the head of the next step.
    So a prefix of a text that ends at a delimiter has a prefix of its steps.
    """
    steps, held = [], ""
    for piece in text.split(delimiter):
        if piece.strip():
            steps.append(held + piece)
            held = ""
        else:
            held += piece + delimiter
    return steps
