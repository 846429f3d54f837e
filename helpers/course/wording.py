"""The words and numbers in which the ledger is quoted: English, or another language."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Wording:
    """What a language needs to quote the ledger.

    language: "en" or a folder of translations; phrases: {English: translation};
    number: (value, format specification) -> text.
    """

    language: str = "en"
    phrases: Mapping[str, str] = field(default_factory=dict)
    number: Callable[[float, str], str] = format

    def say(self, phrase: str) -> str:
        """The phrase in this language, in English where it has none."""
        return self.phrases.get(phrase) or phrase


ENGLISH = Wording()
