"""Prints {name: type} of what a package's door shows, as JSON; see test_rooms.py.

Usage: python -m tests.house.door PACKAGE
"""

import json
import sys
from importlib import import_module

HERE = [name for name in sys.modules if name.startswith("helpers.")]
assert not HERE, "the process is not fresh"
package = import_module(sys.argv[1])
print(json.dumps({n: type(getattr(package, n)).__name__ for n in package.__all__}))
