"""Small helpers of the course: what a lesson needs and would only distract in it."""
