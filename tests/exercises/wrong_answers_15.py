"""Wrong answers to lesson 15's exercises: all of them are numbers."""
