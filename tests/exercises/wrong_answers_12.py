"""Wrong answers to lesson 12's exercises, by the mistake each makes."""

FIND = (
    "import re\n\n\ndef answer(expected, given):\n"
    '    find = re.compile(r"\\d+(?:\\.\\d+)?").findall\n'
    "    wanted, got = find(expected), find(given)\n"
)

WRONG = {
    "12.2": {
        "crashes where there is no number": f"{FIND}"
        "    return abs(float(got[0]) / float(wanted[0]) - 1) <= 0.05",
        "asks for the same number": f"{FIND}    return got == wanted",
        "takes five units for five per cent": f"{FIND}"
        "    return bool(got) and abs(float(got[0]) - float(wanted[0])) <= 5",
    },
    "12.3": {
        "returns all values": "def answer(one, other, column):\n"
        "    return {row[column] for row in [*one, *other]}",
        "compares whole rows": "def answer(one, other, column):\n"
        "    return [row for row in one if row in other]",
    },
}
