"""Checks on a generation: what `model.generate` is given, and what it stops at."""

from collections.abc import Iterator

from helpers.preflight.encoded import as_list
from helpers.preflight.registry import check_of
from helpers.preflight.report import RUINS, WARNS, Finding
from helpers.preflight.tokens import answer_header

# What a checkpoint's generation_config may say, and what leaves greedy answers alone.
HARMLESS = {
    "repetition_penalty": (None, 1.0),
    "no_repeat_ngram_size": (None, 0),
    "encoder_repetition_penalty": (None, 1.0),
    "num_beams": (None, 1),
    "min_new_tokens": (None, 0),
    "bad_words_ids": (None, []),
    "suppress_tokens": (None, []),
    "do_sample": (None, False),
}


@check_of("padding-side", about="the side of the padding that generation gets")
def padding_side(answers, tokenizer=None) -> Iterator[Finding]:
    """Whether prompts of several lengths end where their answers begin."""
    pad = getattr(tokenizer, "pad_token_id", None)
    mask = answers.get("attention_mask") if hasattr(answers, "keys") else None
    if mask is not None:
        ends = [bool(row[-1]) for row in as_list(mask)]
    else:
        ends = [pad is None or ids[-1] != pad for ids in _prompts(answers, None)]
    if wrong := ends.count(False):
        what = f"{wrong:,} of {len(ends):,} prompts are padded on the right"
        why = "the first token of such an answer is read from padding"
        mend = 'tokenizer(..., padding_side="left")'
        yield Finding("padding-side", RUINS, "generation", what, why, mend)
    return f"{len(ends):,} prompts"


@check_of("no-template", about="whether prompts end as the template ends them")
def no_template(answers, tokenizer) -> Iterator[Finding]:
    """Whether the model is asked in the form that it was trained in."""
    thinking = ({}, {"enable_thinking": True}, {"enable_thinking": False})
    headers = [answer_header(tokenizer, **options) for options in thinking]
    prompts = _prompts(answers, tokenizer.pad_token_id)
    bare = [ids for ids in prompts if not any(_ends(ids, end) for end in headers)]
    if bare:
        what = f"{len(bare):,} of {len(prompts):,} prompts lack the template's end, "
        what += repr(tokenizer.decode(headers[0]))
        why = "the model learnt to answer after it, and goes on with the text instead"
        mend = "apply_chat_template(chat, add_generation_prompt=True)"
        yield Finding("no-template", RUINS, "generation", what, why, mend)
    return repr(tokenizer.decode(headers[0]))


@check_of("own-settings", about="settings of the checkpoint that change greedy answers")
def own_settings(model, answers) -> Iterator[Finding]:
    """Whether the checkpoint's generation_config changes answers unasked."""
    own = getattr(model, "generation_config", None)
    given = {**answers} if hasattr(answers, "keys") else {}
    asked = given.get("generation_config") or own
    found = {key: getattr(asked, key, None) for key in HARMLESS}
    found |= {key: given[key] for key in HARMLESS if key in given}
    changed = {
        k: v for k, v in found.items() if v not in HARMLESS[k] and k not in given
    }
    if changed and asked is own:
        said = ", ".join(f"{key} {value}" for key, value in changed.items())
        what = f"the checkpoint says {said}"
        why = "answers that should be greedy follow it: copying a code may be forbidden"
        mend = "give generate a GenerationConfig of your own, or set these keys"
        yield Finding("own-settings", WARNS, "generation_config", what, why, mend)


@check_of("end-stops-nothing", about="whether generation stops at the template's end")
def end_stops_nothing(tokenizer, model, end) -> Iterator[Finding]:
    """Whether the checkpoint's stop tokens hold what ends an answer."""
    config = getattr(model, "generation_config", None)
    stops = getattr(config, "eos_token_id", None)
    stops = stops if isinstance(stops, list) else [stops]
    said = ", ".join(tokenizer.decode([i]) for i in stops if i is not None)
    if end >= 0 and stops != [None] and end not in stops:
        what = f"answers end with {tokenizer.decode([end])}, it stops at {said}"
        why = "whoever asks the model without naming the end gets more than the answer"
        mend = f"model.generation_config.eos_token_id = {[end, *stops]}"
        yield Finding("end-stops-nothing", WARNS, "generation_config", what, why, mend)
    return f"stops at {said or 'nothing'}"


def _prompts(answers, pad: int | None) -> list[list[int]]:
    """The ids of each prompt, without padding on the right."""
    found = answers["input_ids"] if hasattr(answers, "keys") else answers
    found = [as_list(ids) for ids in found]
    for ids in found:
        while len(ids) > 1 and ids[-1] == pad:
            ids.pop()
    return found


def _ends(ids: list[int], end: list[int]) -> bool:
    """Whether ids end in these, or there are none."""
    return not end or ids[-len(end) :] == end
