"""`python -m helpers.finetune`."""

import sys

from tqdm import tqdm

MISTAKES = (ConfigError, DataError, ModelError, RunError)  # each says it in one line


def main(argv=None) -> int:
    """The command; returns its exit code."""
    options = vars(run_config.parser(__doc__.splitlines()[0]).parse_args(argv))
    config = options.pop("config")
    try:
        if config is not None:
            options["overrides"] = run_config.read_overrides(config)
        metrics = run(Settings(**options))
    except MISTAKES as error:
        line = " ".join(str(error).replace("pass model=", "pass --model=").split())
        tqdm.write(f"finetune: {line}", file=sys.stderr)
        return 2
    except Stopped as stopped:
        tqdm.write(f"finetune: {stopped}", file=sys.stderr)
        return stopped.exit_code
    if metrics:
        print(model_card.summary(metrics))
    return 0


if __name__ == "__main__":
    sys.exit(main())
