"""Wrong answers to lesson 13's exercises, by the mistake each makes."""

WRONG = {
    "13.2": {
        "changed W in place": """
def answer(W, A, B, r, alpha):
    W -= alpha / r * (B @ A)
    return W
""",
        "merged once more": "answer = lambda W, A, B, r, alpha: W + alpha / r * B @ A",
        "forgot the scale": "answer = lambda W, A, B, r, alpha: W - B @ A",
    },
    "13.3": {
        "all missing keys": "answer = lambda missing, unexpected: missing + unexpected",
        "only the unexpected keys": "answer = lambda missing, unexpected: unexpected",
        "only the missing keys": """
def answer(missing, unexpected):
    return [key for key in missing if "lora_" in key]
""",
        "unexpected keys only where they are LoRA's": """
def answer(missing, unexpected):
    return [key for key in missing + unexpected if "lora_" in key]
""",
    },
}
