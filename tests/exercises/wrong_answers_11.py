"""Wrong answers to lesson 11's exercises, by the mistake each makes."""

GOOD = {"A": "ddp", "B": "fsdp_qlora", "C": "fsdp2"}


def but(**wrong: str) -> str:
    """The right files but for some letters."""
    return f"answer = {GOOD | wrong!r}"


WRONG = {
    "11.2": {
        "shares for what fits": but(A="fsdp2"),
        "no shares of codes": but(B="fsdp2"),
        "four bits": but(C="fsdp_qlora.yaml"),
        "whole weights": but(C="zero2"),
    },
}
