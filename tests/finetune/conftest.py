"""The small runs that several modules look at. Each is made once, in one process."""

import pytest

from tests.finetune.small_run import SmallRun


@pytest.fixture(scope="session")
def lora(made_once) -> SmallRun:
    return _made(made_once, "small-lora")


@pytest.fixture(scope="session")
def qlora(made_once) -> SmallRun:
    return _made(made_once, "small-qlora", "--qlora")


def _made(made_once, name: str, *more: str) -> SmallRun:
    return SmallRun(made_once(name, lambda f: SmallRun(f, more).make(f)), more)
