"""Turns of ShareGPT: human asks, gpt answers.

Calls of tools stand in turns of their own (LLaMA-Factory's function_call, observation),
or in tags within a text (Hermes).
"""

import re

from helpers.formatting.lines import DataError, short
from helpers.formatting.messages import check_fields, parsed

SPEAKERS = {
    **{"system": "system", "human": "user", "user": "user"},
    **{"gpt": "assistant", "assistant": "assistant", "function_call": "assistant"},
    **{"tool": "tool", "observation": "tool"},
}
# How Hermes's chats tag calls and answers of tools within a text.
CALLED = re.compile(r"<tool_call>\s*(.*?)\s*</tool_call>", re.S)
ANSWERED = re.compile(r"<tool_response>\s*(.*?)\s*</tool_response>", re.S)


def share_gpt_turns(turns) -> list[dict]:
    """The turns of "conversations" as messages. Raises DataError."""
    turns = parsed(turns)
    if not isinstance(turns, list):
        what = f"'conversations' is {short(turns)}"
        raise DataError(f"{what}, expected a list of turns")
    chat = []
    for index, turn in enumerate(turns, start=1):
        name = f"turn {index}"
        check_fields(turn, name, ("from", "value"))
        speaker, value = turn["from"], turn["value"]
        if not isinstance(speaker, str):
            raise DataError(f"{name} has 'from' = {short(speaker)}, expected a string")
        if speaker not in SPEAKERS:
            known = ", ".join(SPEAKERS)
            raise DataError(f"{name} is from {short(speaker)}, expected {known}")
        said = "tool_calls" if speaker == "function_call" else "content"
        more = {key: turn[key] for key in turn if key not in ("from", "value")}
        chat.append({**more, "role": SPEAKERS[speaker], said: value})
        if isinstance(value, str) and said == "content":
            chat[-1] |= _hermes(SPEAKERS[speaker], value)
    return chat


def _hermes(role: str, text: str) -> dict:
    """The calls of tools, or a tool's answers, that a text holds in Hermes's tags."""
    answers = ANSWERED.findall(text) if role == "tool" else []
    if answers and not ANSWERED.sub("", text).strip():
        return {"content": "\n".join(answers)}
    calls = (
        [parsed(call) for call in CALLED.findall(text)] if role == "assistant" else []
    )
    if not calls or not all(isinstance(call, dict) for call in calls):
        return {}
    words = filter(None, (part.strip() for part in CALLED.split(text)[::2]))
    return {"content": "\n".join(words) or None, "tool_calls": calls}
