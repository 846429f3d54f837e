"""The rendered course: one Sphinx site a language."""


class SiteError(ValueError):
    """The site cannot be built. One line: what is wrong, and what to do."""
