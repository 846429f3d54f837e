"""Wrong answers to lesson 02's exercises, by the mistake each makes."""


def _labels(code):
    return f"def answer(prompt_ids, completion_ids):\n    return {code}"


def _example(code):
    return f"def answer(record):\n    return {code}"


MASK = "[-100] * len(prompt_ids)"

WRONG = {
    "02.2": {
        "prompt trained": _labels("prompt_ids + completion_ids"),
        "stop token masked": _labels(f"{MASK} + completion_ids[:-1] + [-100]"),
        "prompt left out": _labels("completion_ids"),
        "zeros instead of -100": _labels("[0] * len(prompt_ids) + completion_ids"),
        "shifted by one": _labels(f"({MASK})[1:] + completion_ids + [-100]"),
    },
    "02.3": {
        "not a known format": _example('{"question": record["q"]}'),
        "context lost": _example(
            '{"prompt": record["q"], "completion": record["a"]}',
        ),
        "context outside the question": _example(
            '{"system": record["context"], "prompt": record["q"], '
            '"completion": record["a"]}',
        ),
        "answer and question exchanged": _example(
            '{"instruction": record["a"], "input": record["context"], '
            '"output": record["q"]}',
        ),
        "empty context leaves a trace": _example(
            '{"prompt": record["q"] + " Context: " + record["context"], '
            '"completion": record["a"]}',
        ),
    },
}
OTHERS = {
    "02.2": {
        "as many as the completion has": _labels(
            "[-100] * len(completion_ids) + completion_ids"
        ),
    },
}
