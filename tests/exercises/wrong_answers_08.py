"""Wrong answers to lesson 08's exercises, by the mistake each makes."""

WRONG = {
    "08.1": {
        "the highest score": 'answer = {"rate": 4e-3, "r": 64}',
        "a rate too low": 'answer = {"rate": 1e-3, "r": 4}',
        "a larger rank": 'answer = {"rate": 2e-3, "r": 16}',
    },
}
