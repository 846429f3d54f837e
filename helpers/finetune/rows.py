"""The rows of a run: read, tried on the tokenizer, and held against the length limit.

TRL cuts rows at `max_length` and drops those of which no answer is left, both in
silence. Here it is said before, and refused where it would spoil the run. Then
preflight looks at all that is known before a model is loaded.
"""

import os
import sys
from dataclasses import asdict

from datasets import DatasetDict
from tqdm import tqdm

from helpers.config import Profile
from helpers.finetune.errors import RunError
from helpers.finetune.launched import unsharded
from helpers.finetune.settings import Settings, build
from helpers.formatting import DataError, count_lengths, load_splits, parse_map

THINKS = "answers hold their thoughts, which are trained"
SILENT = "no answer thinks: the template's empty thought is part of every prompt"
MOST_SPOILT = 0.5  # share of training rows; above it the limit is a mistake
TOLD = ("refused-rows", "cut-answers")  # checks whose subject `read_rows` has told


def read_rows(
    settings: Settings, profile: Profile, lengths: dict | None = None
) -> DatasetDict:
    """The splits that a run trains on and is scored on.

    Says what was detected, how many rows are used, how long they are and which of them
    a limit spoils; rows that TRL would drop are left out. Their columns "line", and
    "group" where there is one, are for `look_before`, as is what goes into lengths:
    {split: its `formatting.count_lengths`}. Raises DataError.
    """
    from helpers.models import answer_end, thinks, window

    names = parse_map(settings.map)
    options = {"group": settings.group, "columns": names, "say": say, "apart": False}
    splits = load_splits(settings.data, lines=True, **options)
    whole, splits = splits.num_rows, choose_rows(splits, settings)
    tokenizer = ready_tokenizer(settings, profile, splits)
    if (first := thinks(tokenizer)) is not None:
        say(f"{THINKS if first else SILENT} (of a model that can think first)")
    most = window(profile, settings.qlora)
    limit = profile.training_config.get("max_length") or most
    for name, rows in splits.items():
        if len(rows) < whole[name] and (name != "test" or settings.test):
            used = f"the first {len(rows):,} of {whole[name]:,} rows are used"
            say(f"{name}: {used} (--{name}-rows)")
        found = count_lengths(tokenizer, rows, limit, {answer_end(tokenizer)})
        if lengths is not None:
            lengths[name] = found
        read = [n if name != "train" else min(n, limit) for n in found.tokens]
        if max(read) > most:
            line = found.lines[read.index(max(read))]
            what = f"{line}: {max(read):,} tokens, more than the model's window"
            raise DataError(f"{what} of {most:,}, expected fewer: shorten the row")
        if name == "test":
            continue  # its rows are answered, none is cut
        if profile.training_config.get("truncation_mode") == "keep_end" and found.fates:
            what = "truncation_mode: keep_end would cut the beginning of prompts"
            way = f"set max_length: {max(found.tokens)}, or keep_start"
            raise DataError(f"{settings.data}:1: {what}, expected whole ones: {way}")
        check_limit(name, found, most)
        if found.fates or name == "train":
            say(f"{name}: {found}")
        dropped = {*found.fates.get("dropped", [])}
        kept = [place for place in range(len(rows)) if place not in dropped]
        splits[name] = rows.select(kept) if dropped else rows
    return splits


def look_before(
    settings: Settings, profile: Profile, splits: DatasetDict, lengths: dict
) -> dict:
    """What preflight finds before a model is loaded: "findings", those "overridden".

    Says each. Raises RunError where one ruins the run, unless --force.
    """
    from trl import SFTConfig

    from helpers.preflight import check

    arguments = build(SFTConfig, "training_config", profile.training_config)
    with unsharded():
        report = check(
            skip=TOLD,
            splits=splits,
            lengths=lengths,
            tokenizer=ready_tokenizer(settings, profile, splits),
            arguments=arguments,
            profile=profile,
            qlora=settings.qlora,
            group=settings.group,
        )
    for finding in sorted(report.findings, key=lambda f: f.level == "ruins"):
        say(f"preflight {finding.level}: {finding}")
    ruins = sorted({finding.code for finding in report.ruins})
    if ruins and not settings.force:
        what = f"preflight found what ruins this run ({', '.join(ruins)})"
        raise RunError(f"{what}, expected nothing: mend it, or add --force")
    return {"findings": [asdict(f) for f in report.findings], "overridden": ruins}


def plain(splits: DatasetDict) -> DatasetDict:
    """The splits without what says where their rows came from."""
    there = splits["train"].column_names
    return splits.remove_columns([n for n in ("line", "group") if n in there])


def check_limit(name: str, found, window: int) -> None:
    """Raises DataError where the limit leaves no row, or spoils most that are trained.

    name: of the split; found: its `formatting.count_lengths`.
    """
    rows, spoilt = len(found.tokens), len(found.spoilt)
    none_left = len(found.fates.get("dropped", [])) == rows
    if not none_left and (name != "train" or spoilt <= MOST_SPOILT * rows):
        return
    way = found.remedy
    if found.needed > window:
        way = f"shorten the rows, the model's window is {window:,}"
    raise DataError(
        f"{found.lines[found.spoilt[0]]}: {found.spoils(name)}, expected "
        f"{found.needed:,} or more, which cuts no answer: {way}"
    )


def choose_rows(splits: DatasetDict, settings: Settings) -> DatasetDict:
    """The splits, each cut to as many rows as the settings allow."""
    for name, rows in splits.items():
        most = getattr(settings, f"{name}_rows") or len(rows)
        splits[name] = rows.select(range(min(most, len(rows))))
    return splits


def ready_tokenizer(settings: Settings, profile: Profile, splits: DatasetDict):
    """The tokenizer of a run; it lets answers think first where the data's do."""
    from helpers.models import answer_at_once, let_think, load_tokenizer

    tokenizer = load_tokenizer(profile, quantized=settings.qlora)
    answers = splits["train"]["completion"]
    think = any("reasoning_content" in row[0] for row in answers)
    (let_think if think else answer_at_once)(tokenizer)
    return tokenizer


def say(remark: str) -> None:
    """Prints a remark on stderr, once for all processes of a run."""
    if int(os.environ.get("RANK", 0)) == 0:
        tqdm.write(f"finetune: {remark}", file=sys.stderr)
