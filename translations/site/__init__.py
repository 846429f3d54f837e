"""The rendered course: one Sphinx site a language."""

from helpers import UserError


class SiteError(UserError):
    """The site cannot be built. One line: what is wrong, and what to do."""
