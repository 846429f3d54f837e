"""The lessons executed without a GPU as if there were one.

    python -m tests.rehearsal.play gpu-16gb 03 04

`stage` sets up what a lesson meets, `branches` and `copies` watch, `play` executes,
`test_rehearsal` judges.
"""
