"""What the command's flags give to the checks, loaded."""

from argparse import Namespace

from helpers.config import load_profile
from helpers.formatting import DataError, check_file, load_splits, parse_map


def gather(flags: Namespace) -> dict:
    """The inputs of `check` that the flags name. Raises UserError."""
    from helpers.models import load_tokenizer, quiet

    quiet()
    from trl import SFTConfig  # its warnings wait for quiet

    profile = load_profile(flags.profile, flags.model)
    inputs = {"profile": profile, "qlora": flags.qlora, "group": flags.group}
    inputs |= {
        "arguments": SFTConfig(**profile.training_config),
        "memory": flags.memory,
    }
    if flags.adapter:
        base = profile.base(flags.qlora)
        inputs |= {"adapter": flags.adapter, "base": base}
    if flags.data:
        inputs |= read(flags)
    inputs["tokenizer"] = load_tokenizer(profile, flags.qlora)
    return inputs


def read(flags: Namespace) -> dict:
    """The splits of --data; in their place "refused" where rows are no examples.

    Raises DataError where there is nothing to look at.
    """
    names = parse_map(flags.map)
    options = {"group": flags.group, "columns": names, "lines": True, "apart": False}
    try:
        return {"splits": load_splits(flags.data, **options), "refused": []}
    except DataError as error:
        path = str(error).partition(": ")[0].rpartition(":")[0]  # of "path:line: ..."
        found = check_file(path, columns=names)
        if not found.refused:
            raise
        return {"refused": found.lines}
