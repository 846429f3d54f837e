"""What the checks found, and what they looked at."""

import json
import textwrap
from dataclasses import asdict, dataclass, field

RUINS, WARNS = "ruins", "warns"  # what ruins a run stops `helpers.finetune`
WIDTH = 88


@dataclass(frozen=True)
class Finding:
    """One thing that a check found. str(): one line.

    code: of `check_of`. level: RUINS or WARNS. where: "path:line", or a part of a run.
    what: is there; why: it matters; mend: what to do about it.
    """

    code: str
    level: str
    where: str
    what: str
    why: str
    mend: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what} ({self.code}): {self.mend}"


@dataclass
class Report:
    """What `check` found. str(): for a terminal.

    checked: {name of a check that ran: what it looked at, "" for no number}.
    not_run: {name of a check: the inputs that it lacked}.
    """

    findings: list[Finding] = field(default_factory=list)
    checked: dict[str, str] = field(default_factory=dict)
    not_run: dict[str, list[str]] = field(default_factory=dict)

    @property
    def codes(self) -> set[str]:
        """The codes of all findings."""
        return {finding.code for finding in self.findings}

    @property
    def ruins(self) -> list[Finding]:
        """The findings that ruin a run."""
        return [finding for finding in self.findings if finding.level == RUINS]

    def table(self):
        """The findings as a pandas.DataFrame, a row each."""
        import pandas as pd

        columns = list(Finding.__dataclass_fields__)
        return pd.DataFrame([asdict(f) for f in self.findings], columns=columns)

    def to_json(self) -> str:
        """All of it as JSON."""
        return json.dumps(asdict(self), indent=1)

    def __str__(self) -> str:
        lines = [self.summary(), ""]
        for finding in sorted(self.findings, key=lambda f: f.level != RUINS):
            lines += [f"{finding.level}: {finding.code}, {finding.where}"]
            parts = finding.what, f"why: {finding.why}", f"mend: {finding.mend}"
            lines += [_wrapped(part, "  ") for part in parts] + [""]
        looked = (f"{n} ({of})" if of else n for n, of in self.checked.items())
        lines += [_wrapped(f"checked: {', '.join(looked) or 'nothing'}")]
        if self.not_run:
            lacking = ", ".join(sorted(set().union(*self.not_run.values())))
            names = ", ".join(self.not_run)
            lines += [_wrapped(f"not checked for want of {lacking}: {names}")]
        return "\n".join(lines)

    def summary(self) -> str:
        """One line: how many checks, how many findings."""
        found, ruin = len(self.findings), len(self.ruins)
        what = "finding" if found == 1 else "findings"
        text = f"{len(self.checked):,} checks: {found:,} {what}"
        how = "ruins" if ruin == 1 else "ruin"
        return text + (f", {ruin:,} of which {how} the run" if ruin else "")


def _wrapped(text: str, margin: str = "") -> str:
    """A text in lines that fit a terminal; a path is never broken."""
    whole = {"break_long_words": False, "break_on_hyphens": False}
    return textwrap.fill(
        text, WIDTH, initial_indent=margin, subsequent_indent="  ", **whole
    )
