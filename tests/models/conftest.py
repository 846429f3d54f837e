"""The profile that the tests of models train with."""

import dataclasses

import pytest

from helpers.config import load_profile


@pytest.fixture(scope="module")
def profile():
    """The tiny profile on the CPU, wherever the tests run."""
    profile = load_profile("tiny")
    config = profile.training_config | {"use_cpu": True, "bf16": False, "fp16": False}
    return dataclasses.replace(profile, training_config=config)
