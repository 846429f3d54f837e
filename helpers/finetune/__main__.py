"""Fine-tune a model on your data with LoRA or QLoRA.

    python -m helpers.finetune --data data/tickets --output out
    python -m helpers.finetune --data my.csv --output out --qlora --config my.yaml
    python -m helpers.finetune --data data/tickets --output out --resume

data: a folder with train, validation and test, or one file that is split 80/10/10, in
any format of `helpers.formatting`, or hub:OWNER/NAME. --map "q=prompt,a=completion"
names other columns, --group customer keeps a customer's rows in one split. Of a chat
with several answers each is trained, after all that stands before it. Rows that
max_length would cut or drop are named before the training, and what
`helpers.preflight` finds; --force goes on where that ruins a run. Validation is scored,
also meanwhile; the test split is left alone until --test, or --resume --test later.
Several processes: `torchrun --nproc_per_node 2 -m helpers.finetune ...`, or `accelerate
launch --config_file helpers/finetune/launch/FILE -m helpers.finetune ...`; the first
one writes.

Exit codes: 0 done; 2 a mistake of the user or of the machine, one line on stderr;
143 SIGTERM and 130 Ctrl-C, saved so that --resume goes on with the next update.
"""

import sys

from tqdm import tqdm

from helpers import finetune, run_command
from helpers.finetune.errors import Stopped
from helpers.finetune.launched import check_environment
from helpers.finetune.settings import parse


def main(argv: list[str] | None = None) -> int:
    """Trains as the flags say, and prints the scores before and after."""
    settings = parse(argv, __doc__.splitlines()[0])
    check_environment()  # before the imports that take seconds
    try:
        metrics = finetune.run(settings)
    except Stopped as stopped:
        tqdm.write(f"finetune: {stopped}", file=sys.stderr)
        return stopped.exit_code
    if metrics:
        from helpers.finetune.model_card import summary

        print(summary(metrics))
    return 0


if __name__ == "__main__":
    sys.exit(run_command("finetune", main))
