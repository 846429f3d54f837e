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
OTHERS = {
    "12.2": {
        "leaves out the decimals": FIND.replace(r"(?:\.\d+)?", "")
        + "    return bool(got) and abs(int(got[0]) / int(wanted[0]) - 1) <= 0.05",
        "takes the last number": f"{FIND}"
        "    return bool(got) and abs(float(got[-1]) / float(wanted[0]) - 1) <= 0.05",
        "takes 5 % of the answer": f"{FIND}"
        "    return bool(got) and abs(float(wanted[0]) / float(got[0]) - 1) <= 0.05",
    },
}
RIGHT = {
    "12.2": {
        "nothing where nothing was found": f"{FIND}"
        "    return got and abs(float(got[0]) / float(wanted[0]) - 1) <= 0.05",
    },
}
