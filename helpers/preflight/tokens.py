"""Checks on tokenizer and chat template, and on the rows as they are trained."""

import re
from collections.abc import Iterator

from helpers import one_line
from helpers.models import ModelError, answer_end, check_rows, check_template
from helpers.preflight.encoded import after, last, last_run, size, trains_prompt, uncut
from helpers.preflight.registry import check_of, derived
from helpers.preflight.report import RUINS, WARNS, Finding

SHOWN = 60  # characters of what a row trains
ROWS, TEMPLATE = "encoded rows", "chat template"  # where a finding may be
GOES_ON = "the model never learns to stop: it writes on until a limit cuts it off"


@derived
def end(tokenizer) -> int | None:
    """The id that ends an answer, -1 for none; None where no chat can be rendered."""
    try:
        found = answer_end(tokenizer)
    except Exception:  # a template's own, which `unusable_template` tells
        return None
    if not tokenizer.chat_template:
        found = tokenizer.eos_token_id
    return -1 if found is None else found


@check_of("nothing-trained", about="which tokens of a row are trained")
def nothing_trained(trained_rows, tokenizer=None, arguments=None) -> Iterator[Finding]:
    """Whether rows that are not cut have a label; shows what the first trains."""
    whole = list(uncut(trained_rows, arguments))
    if idle := [row for row in whole if last(row[1]) < 0]:
        what = f"{_of(idle, whole)} have no label"
        why = "nothing is learnt from a row without labels"
        mend = "look at what sets the labels: the template's marks, the collator"
        yield Finding("nothing-trained", _level(idle, whole), ROWS, what, why, mend)
    for ids, labels in trained_rows if tokenizer else ():
        kept = [i for i, label in zip(ids, labels, strict=True) if label >= 0]
        shown = _short(tokenizer.decode(kept))
        return f"the first of {len(trained_rows):,} rows trains {shown}"


@check_of("pad-is-end", about="whether padding hides the token that ends an answer")
def pad_is_end(tokenizer, end, trained_rows=None) -> Iterator[Finding]:
    """Whether what ends an answer is padding, and so has no label."""
    if tokenizer.pad_token_id != end:
        return f"pads with {tokenizer.pad_token}"
    masked = [row for row in trained_rows or [] if after(row) == end]
    masked = [row for row in masked if end not in last_run(row)]
    level, where = WARNS, "tokenizer"
    what = f"answers end with {tokenizer.pad_token}, which is padding, too"
    if trained_rows is not None:
        level, where = RUINS, ROWS
        what += f", and has no label in {_of(masked, trained_rows)}"
    if masked or trained_rows is None:
        why = f"where padding is masked by its id, {GOES_ON}"
        mend = "pad with another token, such as one that the vocabulary reserves"
        yield Finding("pad-is-end", level, where, what, why, mend)
    return f"pads with {tokenizer.pad_token}, the end"


@check_of("no-end-token", about="whether an answer ends with a token that can stop")
def no_end_token(
    tokenizer, end, trained_rows=None, arguments=None
) -> Iterator[Finding]:
    """Whether the template writes an end, and rows that are not cut train it."""
    mend = "let the template write one after every answer"
    stops = {end, tokenizer.eos_token_id} - {None, -1}
    if tokenizer.chat_template and end < 0:
        what = "no token that can stop follows an answer"
        yield Finding("no-end-token", RUINS, TEMPLATE, what, GOES_ON, mend)
        return
    whole = [row for row in uncut(trained_rows or [], arguments) if last(row[1]) >= 0]
    lacking = [row for row in whole if not stops & {*last_run(row)}]
    if tokenizer.pad_token_id in stops:  # then `pad_is_end` tells
        lacking = [row for row in lacking if after(row) != tokenizer.pad_token_id]
    if stops and lacking:
        level = _level(lacking, whole)
        what = f"{_of(lacking, whole)} train no token that can stop"
        yield Finding("no-end-token", level, ROWS, what, GOES_ON, mend)
    return "" if end < 0 else tokenizer.decode([end])


@check_of("cut-rows", about="rows of tokens that a limit has cut off")
def cut_rows(
    tokenizer, end, trained_rows, arguments, lengths=None
) -> Iterator[Finding]:
    """Whether rows reach max_length without an end; `cut_answers` knows their lines."""
    limit = getattr(arguments, "max_length", None)
    if lengths is not None or not limit or getattr(arguments, "packing", False):
        return "told by cut-answers" if lengths is not None else "no limit a row"
    full = [row for row in trained_rows if last(row[1]) >= 0 and size(row) >= limit]
    stops = {end, tokenizer.eos_token_id}
    if cut := [row for row in full if not stops & {*last_run(row)}]:
        what = f"{_of(cut, trained_rows)} break off at max_length {limit:,}"
        why = "a cut answer teaches to break off, and the turns after it are gone"
        mend = "a larger max_length, or shorter chats"
        yield Finding("cut-rows", _level(cut, trained_rows), ROWS, what, why, mend)
    return f"max_length {limit:,}, {len(trained_rows):,} rows"


@check_of("prompt-trained", about="whether labels stand on the answer alone")
def prompt_trained(
    trained_rows, tokenizer=None, arguments=None, splits=None
) -> Iterator[Finding]:
    """Whether the prompt has labels."""
    code, rows = "prompt-trained", trained_rows
    why = "most of the loss is then that of prompts, which are not to be written"
    mend = "completion_only_loss=True, or the label -100 for the prompt"
    on_all = getattr(arguments, "completion_only_loss", None) is False
    header = answer_header(tokenizer) if tokenizer else []
    bad = [row for row in rows if trains_prompt(row, header)]
    if bad:
        what = f"the prompt has labels in {_of(bad, rows)}"
        yield Finding(code, _level(bad, rows), ROWS, what, why, mend)
    elif on_all and splits is not None and not arguments.assistant_only_loss:
        what = "completion_only_loss is False"
        yield Finding(code, WARNS, "training arguments", what, why, mend)
    trained = sum(label >= 0 for _, labels in rows for label in labels)
    total = sum(len(ids) for ids, _ in rows)
    return f"{trained / total:.0%} of the tokens of {len(rows):,} rows" if total else ""


@check_of("double-bos", about="how often the begin token stands at the start")
def double_bos(tokenizer, trained_rows) -> Iterator[Finding]:
    """Whether the template and the tokenizer both wrote the begin token."""
    begin, pad = tokenizer.bos_token_id, tokenizer.pad_token_id
    twice = []
    for ids, _ in trained_rows:
        start = next((n for n, i in enumerate(ids) if i != pad or i == begin), 0)
        if begin is not None and ids[start : start + 2] == [begin, begin]:
            twice.append(ids)
    if twice:
        bos = tokenizer.bos_token
        what = f"{_of(twice, trained_rows)} begin with {bos} twice"
        why = "pretraining never showed that, and generation may write it once"
        mend = "encode what a template wrote with add_special_tokens=False"
        yield Finding("double-bos", WARNS, ROWS, what, why, mend)
    return f"{len(trained_rows):,} rows"


@check_of("no-generation-marks", about="whether the template marks what it generates")
def no_generation_marks(tokenizer, arguments) -> Iterator[Finding]:
    """Whether assistant_only_loss can tell which tokens are the answers'."""
    if not getattr(arguments, "assistant_only_loss", False):
        return "not needed"
    if re.search(r"\{%-?\s*generation", tokenizer.chat_template or ""):
        return "there"
    from trl.chat_template_utils import get_training_chat_template

    try:
        get_training_chat_template(tokenizer)
        return "TRL has a marked form of it"
    except ValueError:
        what = "it has no {% generation %}, and TRL has no marked form of it"
        why = "assistant_only_loss labels what stands between these marks"
        mend = "write the marks around the answer, or give prompt and completion"
        yield Finding("no-generation-marks", RUINS, TEMPLATE, what, why, mend)


@check_of("unusable-template", about="whether a prompt stays as it is once answered")
def unusable_template(tokenizer, end=None) -> Iterator[Finding]:
    """Whether a chat could be trained by the template, its end aside."""
    try:
        if tokenizer.chat_template and end != -1:
            check_template(tokenizer)
    except ModelError as error:
        why = "training and generation would not read the same prompt"
        mend = "take the template that the model was trained with"
        what = one_line(error)
        yield Finding("unusable-template", RUINS, TEMPLATE, what, why, mend)


@check_of("tokens-without-rows", about="tokens against the rows of the embedding")
def tokens_without_rows(tokenizer, model) -> Iterator[Finding]:
    """Whether every token that may be needed has a row."""
    size = model.get_input_embeddings().weight.shape[0]
    try:
        if tokenizer.chat_template:
            check_rows(tokenizer, size)
    except ModelError as error:
        why = "such a token is an index out of range"
        mend = "take the model's own tokenizer, or model.resize_token_embeddings"
        where, what = "tokenizer", str(error)
        yield Finding("tokens-without-rows", RUINS, where, what, why, mend)
    return f"{len(tokenizer):,} tokens, {size:,} rows"


def answer_header(tokenizer, **options) -> list[int]:
    """The ids that a template writes between a question and its answer.

    [] where no special token is among them. options: of the template.
    """
    if not tokenizer.chat_template:
        return []
    options |= {"add_generation_prompt": True, "return_dict": False}
    chats = ([{"role": "user", "content": text}] for text in ("Which?", "No, 7"))
    try:
        one, two = (tokenizer.apply_chat_template(chat, **options) for chat in chats)
    except Exception:  # a template's own, which `unusable_template` tells
        return []
    same = 0
    while same < min(len(one), len(two)) and one[-1 - same] == two[-1 - same]:
        same += 1
    header = one[len(one) - same :]
    plain = tokenizer.decode(header, skip_special_tokens=True)
    return header if plain != tokenizer.decode(header) else []


def _level(rows: list, among: list) -> str:
    """What it means where these rows have a fault: most of them ruin a run."""
    return RUINS if 2 * len(rows) > len(among) else WARNS


def _of(rows: list, among: list) -> str:
    """ "3 of 40 rows"."""
    return f"{len(rows):,} of {len(among):,} rows"


def _short(text: str) -> str:
    """A text in quotes, its middle left out where it is long."""
    half = SHOWN // 2
    return repr(text if len(text) <= SHOWN else f"{text[:half]}...{text[-half:]}")
