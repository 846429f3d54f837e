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
WRONG = {"03.1": {"took max_steps for a number of updates": "answer = -1"}}
