"""The checks of lesson 07's exercises."""

from copy import deepcopy

from helpers.exercises.checking import Exercise, numeric, raises

ADAPTER, MODEL = 41_943_040, 8_030_261_248  # Llama-3.1-8B, rank 16 on all linear layers
PICKLES = {"adapter_model.bin", "optimizer.pt", "rng_state.pth", "training_args.bin"}
HASH = "e33f89f1"
# (metrics.json of an adapter, fingerprint in memory, may it be loaded?)
SAME_NAME = ({"base": {"model": "phi", "fingerprint": HASH}}, "0" * 8, False)
NO_FINGERPRINT = ({"base": {"model": "phi"}}, HASH, False)
NO_BASE = ({"after": {"exact_match": 1.0}}, HASH, False)
FITS = ({"base": {"model": "phi", "fingerprint": HASH}}, HASH, True)
OTHER_NAME = ({"base": {"model": "phi-copy", "fingerprint": HASH}}, HASH, True)
LACKING = (NO_FINGERPRINT, NO_BASE)
CASES = (FITS, OTHER_NAME, SAME_NAME, *LACKING)


def _says(function, case: tuple) -> bool:
    """Whether a function gives a case's verdict."""
    metrics, found, expected = deepcopy(case)
    return bool(function(metrics, found)) is expected


EXERCISES = {
    "07.1": numeric(
        "a number, the share of the model's bytes",
        right=ADAPTER * 4 / (MODEL * 2),
        within=0.00005,
        praise="Saved in bf16 like its model, the adapter would be half as large.",
        hint="bytes of the one file over bytes of the other; how wide is a parameter "
        "in fp32, and how wide in bf16?",
        percent="right in percent; asked for is a number between zero and one.",
        mistakes={
            "that is the share of parameters. The two files do not spend the same "
            "number of bytes on one.": ADAPTER / MODEL,
            "the adapter is the file in fp32, the model the one in bf16.": (
                ADAPTER * 2 / (MODEL * 4)
            ),
        },
    ),
    "07.2": Exercise(
        "a function of two arguments, metrics and fingerprint",
        right=lambda f: all(_says(f, case) for case in CASES),
        praise="A base under another name but with the same weights is accepted, and "
        "that is right: the weights decide.",
        hint="True where the stored fingerprint is the one found, False in every other "
        "case.",
        mistakes={
            "right where all is there, but a file from elsewhere may lack the key, "
            "and then your function raises an error.": lambda f: (
                _says(f, FITS) and raises(lambda: [_says(f, c) for c in LACKING])
            ),
            "an adapter without a fingerprint gets past. Is what is not known a "
            "match?": lambda f: (
                _says(f, FITS)
                and _says(f, SAME_NAME)
                and not (_says(f, NO_FINGERPRINT) and _says(f, NO_BASE))
            ),
            "two bases of one name passed for the same. Their weights differ, and "
            "so do their fingerprints.": lambda f: not _says(f, SAME_NAME),
        },
    ),
    "07.3": Exercise(
        "a set of file names",
        right=lambda a: a == PICKLES,
        praise="`training_args.bin` is easily forgotten: each checkpoint of the "
        "Trainer has one, and nobody needs it to run the model.",
        hint="which of the formats rebuild Python objects, and which hold only text "
        "and numbers?",
        mistakes={
            "weights are not the only thing that is pickled: what else does a "
            "training run save with `torch.save`?": lambda a: (
                a == {"adapter_model.bin"}
            ),
            "one is missing. It holds no tensor at all, and is pickled as well.": (
                lambda a: a == PICKLES - {"training_args.bin"}
            ),
            "one too many: a file with a JSON header and numbers has nothing that "
            "could run.": lambda a: a == PICKLES | {"adapter_model.safetensors"},
        },
    ),
}
