"""Experiments: the paper's, the scheduler alone, repeated start and stop. Every figure in the README is from here."""
