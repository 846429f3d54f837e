"""Wrong answers to appendix 16's exercise: all are numbers, and stand in its check."""
