"""What a tokenizer adds to a text: padding, the chat template, the token that stops.

`make_ready` settles all three once, and refuses what could not be learnt from: a wrong
template shows in no loss, only in the answers.
"""

from helpers import one_line
from helpers.models.integrity import ModelError

# What checkpoints reserve for padding, the best first: Llama 3.1's token, the usual
# spellings, DeepSeek's, and Phi-3's <unk>, which its authors' fine-tuning sample pads
# with (sample_finetune.py beside the weights of microsoft/Phi-3-mini-4k-instruct).
# Last what parts the documents of pretraining: it ends no chat of SmolLM2 or Llama 3.
PAD_TOKENS = ("<|finetune_right_pad_id|>", "<|pad|>", "<pad>", "[PAD]", "<｜▁pad▁｜>")
PAD_TOKENS += ("<unk>", "<|endoftext|>", "<|end_of_text|>")

NO_THINKING = "{% set enable_thinking = enable_thinking | default(false) %}"
THINKING = NO_THINKING.replace("false", "true")
ANOTHER = "put another one as chat_template.jinja into the model's folder"
NO_SYSTEM = "put the system's text into the first question, or "
# Chats to try a template on, by role.
TEXTS = {"system": "Be brief.", "user": "Which?", "assistant": '{"order": "G4521"}'}


def make_ready(tokenizer, rows: int) -> None:
    """Sets padding and template of a tokenizer that was just loaded.

    rows: of the model's embedding. A template that was saved after `let_think` goes on
    thinking. Raises ModelError for a template that there is not, or that could not be
    trained by, and for tokens that have no row.
    """
    tokenizer.padding_side = "right"
    # Decoding would change texts: " ." to "." (Llama 3.1's configuration asks for it).
    tokenizer.clean_up_tokenization_spaces = False
    choose_pad(tokenizer, rows)
    try:
        template = tokenizer.get_chat_template()  # of several the default
    except ValueError:
        what = f"{tokenizer.name_or_path} has no chat template, as most base models"
        way = "use its instruct version, or put one as chat_template.jinja into the"
        raise ModelError(f"{what}: {way} model's folder") from None
    trained = template.startswith(THINKING)
    if "enable_thinking" in template and not template.startswith(NO_THINKING):
        template = NO_THINKING + template.removeprefix(THINKING)
    tokenizer.chat_template = template
    check_template(tokenizer)
    check_rows(tokenizer, rows)
    if trained:
        let_think(tokenizer)


def let_think(tokenizer) -> None:
    """Lets a template that may ask for thinking ask for it, unless told not to."""
    _begin_anew(tokenizer, NO_THINKING, THINKING)


def answer_at_once(tokenizer) -> None:
    """Undoes `let_think`: a template does not ask for thinking unless told to."""
    _begin_anew(tokenizer, THINKING, NO_THINKING)


def thinks(tokenizer) -> bool | None:
    """Whether answers think first; None where the template knows no thinking."""
    template = tokenizer.chat_template
    if "enable_thinking" in template:
        return not template.startswith(NO_THINKING)
    return None


def choose_pad(tokenizer, rows: int) -> None:
    """Sets the pad token: the tokenizer's own, or one that ends no answer, or eos."""
    known, eos = tokenizer.get_vocab(), tokenizer.eos_token
    if tokenizer.pad_token in (None, eos) or known[tokenizer.pad_token] >= rows:
        found = [t for t in PAD_TOKENS if known.get(t, rows) < rows and t != eos]
        tokenizer.pad_token = found[0] if found else eos
    if tokenizer.pad_token is None:
        what = f"{tokenizer.name_or_path} has neither a pad token nor an end token"
        raise ModelError(f"{what}: name them in its tokenizer_config.json")


def check_template(tokenizer, roles: tuple[str, ...] = ("user", "assistant")) -> None:
    """Raises ModelError where a chat of these roles could not be trained by.

    The prompt must stay as it is once it is answered, the answer must follow it as it
    was written, and a token must come after it that can stop.
    """
    fault = _fault(tokenizer, [{"role": r, "content": TEXTS[r]} for r in roles])
    if fault:
        what = f"the chat template of {tokenizer.name_or_path} {fault}"
        way = NO_SYSTEM * ("system" in roles) + ANOTHER
        raise ModelError(f"{what} in a chat of {', '.join(roles)}: {way}")


def check_rows(tokenizer, rows: int) -> None:
    """Raises ModelError where a token that may be needed has no row in the embedding.

    Special tokens that nothing writes need none, as Gemma 3's mark for an image, which
    its text models lack.
    """
    used = {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}
    chat = [{"role": r, "content": TEXTS[r]} for r in ("user", "assistant")]
    used |= {*tokenizer.apply_chat_template(chat, return_dict=False)}
    idle = special_ids(tokenizer) - used
    without = {i: t for t, i in tokenizer.get_vocab().items() if i >= rows}
    if lacking := sorted(without.keys() - idle):
        what = f"{tokenizer.name_or_path} has {len(tokenizer):,} tokens, and {rows:,}"
        what += f" rows in its embedding, none for {len(lacking):,} of the tokens"
        way = "give it the tokenizer it was trained with, or resize it (transformers'"
        first = f"such as {without[lacking[0]]!r}"
        raise ModelError(f"{what}, {first}: {way} resize_token_embeddings)")


def answer_end(tokenizer) -> int | None:
    """The token that a chat template ends an answer with, None where there is none."""
    if not tokenizer.chat_template:
        return None
    chat = [{"role": r, "content": TEXTS[r]} for r in ("user", "assistant")]
    text = tokenizer.apply_chat_template(chat, tokenize=False)
    return _first_special(tokenizer, text.rpartition(TEXTS["assistant"])[2])


def special_ids(tokenizer) -> set[int]:
    """The ids that no text is read from: decoding skips them."""
    added = tokenizer.added_tokens_decoder.items()
    return {*tokenizer.all_special_ids, *(i for i, token in added if token.special)}


def _begin_anew(tokenizer, old: str, new: str) -> None:
    """Puts another beginning before a template that begins with `old`."""
    template = tokenizer.chat_template
    if template.startswith(old):
        tokenizer.chat_template = new + template.removeprefix(old)


def _fault(tokenizer, chat: list[dict]) -> str | None:
    """What a template does to a chat that it must not, None where all is well."""

    def render(messages: list[dict], **options):
        return tokenizer.apply_chat_template(messages, return_dict=False, **options)

    try:
        prompt = render(chat[:-1], add_generation_prompt=True)
        whole = render(chat)
        text = render(chat, tokenize=False)
    except Exception as error:  # jinja2's, or what a template's own code runs into
        return f"refuses ({one_line(error, 120)})"
    same = 0
    while prompt[same : same + 1] == whole[same : same + 1] != []:
        same += 1
    if same < len(prompt):
        want, got = (tokenizer.decode(ids[same:])[:40] for ids in (prompt, whole))
        return f"writes {want!r} before an answer, and once it is there {got!r}"
    answer = chat[-1]["content"]
    end = text.rpartition(answer)[2]
    if _first_special(tokenizer, end) is None:
        return f"ends an answer with {end[:20]!r}, no token that could stop"
    read = tokenizer.decode(whole[same:], skip_special_tokens=True).strip()
    if read != answer:
        return f"writes {read[:60]!r} for the answer {answer!r}"
    return None


def _first_special(tokenizer, text: str) -> int | None:
    """The first special token of a text."""
    special = special_ids(tokenizer)
    ids = tokenizer.encode(text, add_special_tokens=False)
    return next((i for i in ids if i in special), None)
