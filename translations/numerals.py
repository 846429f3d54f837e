"""Numbers in languages that write figures where English has words.

Chinese, Japanese and Korean count things in figures, 2つ for "two", and in steps of ten
thousand: 200万 for "two million", 1億3500万 for "135 million". It is the same number.
"""

import re
import unicodedata
from collections import Counter
from functools import reduce

from translations.markdown_blocks import NUMBER, digits

SCALES = {"十": 10, "百": 100, "千": 10**3, "万": 10**4, "億": 10**8, "兆": 10**12}
SCALES |= {"萬": 10**4, "亿": 10**8, "백": 100, "천": 10**3, "만": 10**4, "억": 10**8}
PART = rf"{NUMBER.pattern}\s?[{''.join(SCALES)}]+"
FOLLOWED = re.compile(rf"((?:{PART})*(?:{NUMBER.pattern})?)(.?)", re.DOTALL)
ONES = "zero one two three four five six seven eight nine ten eleven twelve thirteen"
ONES += " fourteen fifteen sixteen seventeen eighteen nineteen"
TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
FIRSTS = "first second third fourth fifth sixth seventh eighth ninth tenth"
WORDS = {word: number for number, word in enumerate(ONES.split())}
WORDS |= {word: 10 * number for number, word in enumerate(TENS.split(), 2)}
WORDS |= {word: number for number, word in enumerate(FIRSTS.split(), 1)}
WORDS |= {"once": 1, "single": 1, "twice": 2, "both": 2, "pair": 2, "half": 2}
WORDS |= {"thrice": 3, "dozen": 12, "a": 1}
LARGE = {"hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9}
LARGE |= {"trillion": 10**12}
SPOKEN = re.compile(
    rf"({NUMBER.pattern}|\b(?:{'|'.join(WORDS)})\b(?:-(?:{ONES.replace(' ', '|')})\b)?)"
    rf"((?:[\s-](?:{'|'.join(LARGE)})s?\b)*)",
    re.IGNORECASE,
)
ONE = rf"({NUMBER.pattern}|{'|'.join(WORDS)})"
RANGE = re.compile(  # "one to eight billion" begins at one billion
    rf"\b{ONE} (?:to|or) {ONE}(\s(?:{'|'.join(LARGE)}))\b", re.IGNORECASE
)
MINUTES = {"a quarter of an hour": "fifteen minutes", "half an hour": "thirty minutes"}


def otherwise(english: str, translated: str) -> tuple[Counter, Counter, Counter]:
    """(figures of the English, figures of the translation, figures for words).

    The first two say one number in other scales. Of the third the translation may have
    so many more than the English. Only what a wide letter follows in the translation
    is looked at: 2つ, 200万.
    """
    theirs, ours, words = Counter(), Counter(), Counter()
    english = RANGE.sub(r"\1\3 to \2\3", english)
    for words_of_time, minutes in MINUTES.items():
        english = english.replace(words_of_time, minutes)
    spoken = [(found[1], _value(found)) for found in SPOKEN.finditer(english)]
    for found in (found for found in FOLLOWED.finditer(translated) if found[1]):
        written = NUMBER.findall(found[1])
        scaled = found[1] not in written
        if not scaled and unicodedata.east_asian_width(found[2] or " ") not in "WF":
            continue
        value = sum(map(_scaled, re.findall(rf"{PART}|{NUMBER.pattern}", found[1])))
        same = [one for one in spoken if one[1] == value]
        same = min(same, key=lambda one: one[0][0].isdigit(), default=None)
        figure = same and same[0][0].isdigit()
        if figure:  # "8" of "8 billion": as often as the English has it
            spoken.remove(same)
        if same and digits(same[0]) != digits(found[1]):
            theirs[digits(same[0])] += int(figure)
            (ours if scaled else words).update(map(digits, written))
    return theirs, ours, words


def _scaled(part: str) -> float:
    """The value of a figure and the characters for ten thousand and the like."""
    scales = [char for char in part if char in SCALES]
    return reduce(lambda n, scale: n * SCALES[scale], scales, _number(part))


def _value(found: re.Match) -> float:
    """The number that English words, or a figure and words, name."""
    first, *rest = re.split(r"[\s-]+", found[0].lower())
    value = _number(first) if first[0].isdigit() else WORDS[first]
    for word in rest:
        large = LARGE.get(word.removesuffix("s"))
        value = value * large if large else value + WORDS[word]
    return value


def _number(text: str) -> float:
    """A figure's value, in English form: thousands parted, a decimal point."""
    plain = re.sub(r"[,\u00a0\u202f](?=\d{3}(?!\d))", "", digits(NUMBER.match(text)[0]))
    try:
        return round(float(plain.replace(",", ".")), 9)
    except ValueError:  # 1.2.3, a version
        return float("nan")
