"""The small runs that several modules look at. Each is made once, in one process."""

import pytest

from tests.finetune.small_run import SmallRun


@pytest.fixture(scope="session")
def lora(made_once) -> SmallRun:
    return _made(made_once, "small-lora")


@pytest.fixture(scope="session")
def qlora(made_once) -> SmallRun:
    return _made(made_once, "small-qlora", "--qlora", file="prices.csv")


@pytest.fixture(scope="session")
def short(made_once) -> SmallRun:
    """For what has nothing to do with what the rows say."""
    return _made(made_once, "small-short", file="prices.csv")


def _made(made_once, name: str, *more: str, **how) -> SmallRun:
    made = made_once(name, lambda f: SmallRun(f, more, **how).make(f))
    return SmallRun(made, more, **how)
