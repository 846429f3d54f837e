"""Wrong answers to lesson 01's exercises, by the mistake each makes."""

WRONG = {
    "01.2": {
        "changed W in place": """
def answer(W, A, B, r, alpha):
    W += alpha / r * (B @ A)
    return W
""",
        "forgot the scale": "answer = lambda W, A, B, r, alpha: W + B @ A",
        "inverted the scale": "answer = lambda W, A, B, r, alpha: W + r / alpha * B@A",
        "multiplied A by B": "answer = lambda W, A, B, r, alpha: W + alpha / r * A @ B",
        "returned the change alone": """
def answer(W, A, B, r, alpha):
    return alpha / r * (B @ A)
""",
    },
}
RIGHT = {
    "01.2": {
        "by the names of the text": "def answer(W, A, B, rank, alpha):\n"
        "    return W + alpha / rank * B @ A",
    },
}
OTHERS = {
    "01.2": {
        "scaled by whole numbers": "answer = lambda W, A, B, r, alpha: "
        "W + alpha // r * (B @ A)",
    },
}
