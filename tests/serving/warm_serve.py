"""`transformers serve` in a process that starts warm; see tests/warm.py.

Usage: python -m tests.serving.warm_serve serve FOLDER ...
"""

from helpers.serving.transformers_serve import CALL

if __name__ == "__main__":
    exec(CALL)
