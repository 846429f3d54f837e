"""Wrong answers to lesson 03's exercises, by the mistake each makes."""

import json
from collections import Counter

from helpers.files import ROOT


def control_answers():
    """What the lesson's cell `controls` binds, for the 200 messages of a control."""
    lines = (ROOT / "data/tickets/test.jsonl").read_text(encoding="utf-8").splitlines()
    chats = [json.loads(line)["messages"] for line in lines[:200]]
    answers = [json.loads(chat[-1]["content"]) for chat in chats]
    return {"answers": answers, "Counter": Counter}


GIVEN = {"03.3": control_answers}
QUEUES = "queues = Counter(a['queue'] for a in answers)"
PRIORITIES = "priorities = Counter(a['priority'] for a in answers)"
PAIRS = "pairs = Counter((a['queue'], a['priority']) for a in answers)"

WRONG = {
    "03.1": {
        "forgot accumulation": "answer = 3 * 8000 / (2 * 2)",
        "forgot the second GPU": "answer = 3 * 8000 / (2 * 8)",
        "one epoch only": "answer = 8000 / (2 * 8 * 2)",
        "took max_steps for a number of updates": "answer = -1",
    },
    "03.2": {
        "multiplied d_in by d_out": "answer = 32 * 8 * (3072 * 9216 + 3072 * 3072)",
        "one layer only": "answer = 8 * (3072 + 9216) + 8 * (3072 + 3072)",
        "counted A alone": "answer = 32 * 8 * (3072 + 3072)",
        "three adapters on the fused projection": "answer = 32 * 8 * 4 * (3072 + 3072)",
        "square projection": "answer = 32 * 8 * 2 * (3072 + 3072)",
    },
    "03.3": {
        "product of the two chances": f"{QUEUES}; {PRIORITIES}\n"
        "best = max(queues.values()) * max(priorities.values())\n"
        "answer = best / len(answers) ** 2",
        "all pairs equally frequent": f"{PAIRS}\nanswer = 1 / len(pairs)",
        "count instead of share": f"{PAIRS}\nanswer = max(pairs.values())",
        "percent instead of share": f"{PAIRS}\n"
        "answer = 100 * max(pairs.values()) / len(answers)",
        "one code of the two": f"{QUEUES}\nanswer = queues.most_common()[0][1] / 200",
    },
}
