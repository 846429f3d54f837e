"""`python -m helpers.course`."""

import signal
import sys


def main(argv=None):
    """Run the command line `argv`; return the exit code."""
    from helpers.course import runner as course_run

    try:
        args, notebooks, parameters = parse(argv)
    except CourseError as error:
        print(f"course: {error}", file=sys.stderr)
        return 2
    # SIGINT too: a shell leaves it ignored in a background job.
    course_run.on_signals(signal.default_int_handler)
    try:
        rows = course_run.run(args, notebooks, parameters)
    except KeyboardInterrupt:
        print("course: interrupted, every lesson was stopped", file=sys.stderr)
        return 130
    if rows:
        print(table(rows))
    return 0 if len(rows) == len(notebooks) else 1


if __name__ == "__main__":
    sys.exit(main())
