"""The small course of these tests; a module may translate another one (`template`)."""

import shutil

import pytest

from tests.translations.pseudo_translation import make_language
from tests.translations.translation_course import make_course


@pytest.fixture
def root(tmp_path):
    """The small course without translations."""
    make_course(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    """A small course with a whole translation, made once: never to be changed."""
    course = tmp_path_factory.mktemp("template")
    make_course(course)
    make_language(course)
    return course


@pytest.fixture
def whole(template, tmp_path):
    """A copy of the template."""
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    return tmp_path
