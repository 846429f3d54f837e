"""The worst moment of each lesson on a profile's card, and its minutes: predicted.

Each function is a lesson as a `Plan` sees it, in the lesson's order. One base is on the
card at a time: lessons `free` one before they load the next. An adapter that another
lesson may have kept is trained again here.
"""

from functools import lru_cache

from helpers.memory.plan import CARDS, CONTEXT, Moment, Plan
from helpers.memory.prediction import check_choice

START = 40  # seconds of imports, tokens and figures
EXAMPLES = 500  # tokens of a prompt with an instruction and three examples


def _start_here(do: Plan) -> None:
    do.load()
    do.answer(400)
    do.train(updates=120)
    do.answer(400)


def _by_hand(do: Plan) -> None:
    do.note("nothing, all is on the CPU", 0, 60)


def _chat_data(do: Plan) -> None:
    do.load()
    do.compare(1, length=512)


def _lora(do: Plan) -> None:
    do.load()
    do.answer(400)
    do.train()
    do.answer(400)
    do.load()  # the saved adapter
    do.compare(1)
    do.load()
    do.train(updates=25)  # resumed
    for updates, rows in ((5, 50), (80, 200)):  # the controls
        do.load()
        do.train(updates)
        do.answer(rows)


def _qlora(do: Plan) -> None:
    for method in ("qlora", "lora"):
        do.load(method)
        do.train(method=method, tight=True)
        do.answer(450, method)
    _merge_into_three(do, rows=16)


def _merge_into_three(do: Plan, rows: int) -> None:
    """Logits of an adapter merged into the restored, the original, the 4-bit base."""
    do.unpack()
    do.load()
    do.load("qlora")
    for method in ("lora", "lora", "qlora"):
        do.merge(method)
        do.compare(rows, method=method)


def _evaluate(do: Plan) -> None:
    _train_adapters(do, 20, 0)
    do.load()
    do.answer(2 * 400 + 32)
    do.answer(4 * 32, prompt=EXAMPLES)


def _train_adapters(do: Plan, *updates: int) -> None:
    """As `helpers.finetune` trains them for a lesson, with 50 test rows each."""
    for count in updates:
        do.load()
        do.train(count)
        do.answer(2 * 50)


def _inference(do: Plan) -> None:
    _train_adapters(do, 0, 0)
    do.load()
    do.answer(200)
    do.answer(80, batch=1)  # steps one by one, of all that is measured
    do.answer(64, batch=64, new=16)
    do.merge()
    do.save()
    do.load("qlora")
    do.answer(50, batch=50, beside=do.weights("qlora"))
    do.serve(seconds=180)  # compiling a static cache, starting, answering


def _share(do: Plan) -> None:
    _train_adapters(do, 0)
    do.load()
    do.answer(200)
    do.load()
    do.merge()
    do.compare(30)
    do.save()
    do.answer(100)  # with the adapter twice
    do.load()
    do.load()  # in a process of its own, beside this one's context
    do.answer(50, batch=50, beside=CONTEXT)
    do.load("qlora")
    do.train(30, "qlora")
    _merge_into_three(do, rows=30)


LESSONS = {
    "00_start_here": _start_here,
    "01_build_lora_by_hand": _by_hand,
    "02_prepare_chat_data": _chat_data,
    "03_finetune_with_lora": _lora,
    "04_finetune_with_qlora": _qlora,
    "05_evaluate_the_result": _evaluate,
    "06_run_inference_on_gpu": _inference,
    "07_merge_and_share": _share,
}


@lru_cache
def _moments(profile: str) -> dict[str, list[Moment]]:
    """{lesson: its moments} on a profile's card. Raises UserError."""
    check_choice("profile", profile, CARDS)
    found = {}
    for lesson, tell in LESSONS.items():
        do = Plan(profile, "qlora_model" if tell is _qlora else "model")
        tell(do)
        found[lesson] = do.moments
    return found


def lesson_peaks(profile: str) -> dict[str, Moment]:
    """{lesson: the moment that takes most} on a profile's card. Raises UserError."""
    moments = _moments(profile).items()
    return {lesson: max(found, key=lambda m: m.bytes) for lesson, found in moments}


def lesson_minutes(profile: str) -> dict[str, float]:
    """{lesson: minutes} on a profile's card, without downloads. Raises UserError."""
    moments = _moments(profile).items()
    seconds = {name: sum(m.seconds for m in found) for name, found in moments}
    return {lesson: (START + count) / 60 for lesson, count in seconds.items()}
