"""Look at data, tokenizer, settings and adapter before a run costs anything.

    python -m helpers.preflight --data my.csv --profile small
    python -m helpers.preflight --data data/tickets --adapter out --json

data: as for `helpers.finetune`, with --map and --group. No model is loaded, but for the
fingerprint of an adapter's base.
Exit codes: 0 nothing was found; 1 findings, on stdout; 2 it cannot run, one line.
"""

import sys

from helpers import Parser, run_command


def command(argv: list[str] | None) -> int:
    """Prints the report; returns 1 where there are findings."""
    from helpers.config import profile_names

    parser = Parser("python -m helpers.preflight", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--data", help="a folder of splits, one file, or hub:OWNER/NAME")
    names = profile_names()
    add("--profile", default="auto", choices=names, help="default: %(default)s")
    add("--model", help="a folder or Hub id, not the profile's model")
    add("--qlora", action="store_true", help="as for a base in 4 bit")
    add("--adapter", help="a folder with an adapter of the profile's model")
    add("--map", help="columns: question=prompt,answer=completion")
    add("--group", help="a column: its rows of one value belong into one split")
    add("--memory", type=float, help="GiB of the device, default: what it has")
    add("--json", action="store_true", help="the report as JSON")
    add("--list", action="store_true", help="every check there is, as a table")
    flags = parser.parse_args(argv)

    from helpers.preflight.inputs import gather
    from helpers.preflight.registry import check, list_checks

    if flags.list:
        print(list_checks())
        return 0
    report = check(**gather(flags))
    print(report.to_json() if flags.json else report)
    return 1 if report.findings else 0


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_command("preflight", command, argv)


if __name__ == "__main__":
    sys.exit(main())
