"""A test process of pytest-xdist that starts warm; see conftest.py.

Usage: python -m tests.warm_worker -u -c CODE, as execnet calls a Python.
"""

import sys

if __name__ == "__main__":  # a process of multiprocessing imports this once more
    exec(sys.argv[-1])
