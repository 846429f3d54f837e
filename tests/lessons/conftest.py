"""What a lesson has measured, for the tests of its claims."""

import pytest


@pytest.fixture
def figures(request, course_run):
    """The figures of the lesson STEM of a test's module, from the course's run."""
    return course_run.rows[request.module.STEM]["figures"]
