"""Experiments: the paper's, the scheduler alone, repeated start and stop. All of docs/results.md is from here."""
