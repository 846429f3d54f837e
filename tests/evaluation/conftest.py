"""The tiny model of the tests, once a module."""

import pytest

from tests.models.tiny_model import build_model, build_tokenizer


@pytest.fixture(scope="module")
def model():
    return build_model()


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()
