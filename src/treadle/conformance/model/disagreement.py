"""What the model answers when a broker did what the protocol does not allow."""

from __future__ import annotations

_MOST = 1_500


class Disagreement(AssertionError):  # what a test framework takes for a failed test
    """A broker answered what the protocol does not allow.

    It says what was asked, what was answered, what would have been allowed, and which sentence of
    the protocol decides.
    """

    def __init__(self, asked: object, answered: object, allowed: object, sentence: str) -> None:
        self.asked = asked
        self.answered = answered
        self.allowed = allowed
        self.sentence = sentence
        super().__init__(
            f"asked:    {_shown(asked)}\nanswered: {_shown(answered)}\nallowed:  {_shown(allowed)}"
            f"\nprotocol: {sentence}"
        )


class Refuted(Exception):
    """Raised inside the model, where it is not known what was asked."""

    def __init__(self, answered: object, allowed: object, sentence: str) -> None:
        super().__init__(sentence)
        self.answered = answered
        self.allowed = allowed
        self.sentence = sentence


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= _MOST else f"{text[:_MOST]} ..."
