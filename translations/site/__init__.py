"""The rendered course: one Sphinx site a language."""

import sys

from helpers import UserError

# A grammar of web addresses, for jsonschema, takes each process two seconds to build;
# nbformat, which reads the notebooks, does without.
sys.modules.setdefault("rfc3987_syntax", None)


class SiteError(UserError):
    """The site cannot be built. One line: what is wrong, and what to do."""
