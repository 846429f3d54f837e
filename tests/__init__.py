"""The tests; `make test` runs them all."""

import sys

# A grammar of web addresses for jsonschema, which takes two seconds to build in every
# process; jsonschema does without.
sys.modules.setdefault("rfc3987_syntax", None)
