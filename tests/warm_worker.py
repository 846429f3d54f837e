"""A test process of pytest-xdist that starts warm; see conftest.py.

Usage: python -m tests.warm_worker -u -c CODE, as execnet calls a Python.
"""

import sys

exec(sys.argv[-1])
