"""Strategies of hypothesis for values of annotations."""
