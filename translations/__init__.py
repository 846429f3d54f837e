"""Translations of the lessons, and the tools that keep them true."""
