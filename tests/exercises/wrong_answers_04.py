"""Wrong answers to lesson 04's exercises, by the mistake each makes."""

HEAD = "def answer(capability):\n"
NEW = '"bfloat16" if capability >= (8, 0) else "float16"'

WRONG = {
    "04.2": {
        "the adapter in the base's precision": f"{HEAD}    base = {NEW}\n"
        "    return base, base",
        "an A100 left out": f"{HEAD}"
        '    return "bfloat16" if capability > (8, 0) else "float16", "float32"',
        "bf16 on every card": f'{HEAD}    return "bfloat16", "float32"',
        "fp16 on every card": f'{HEAD}    return "float16", "float32"',
    },
}
