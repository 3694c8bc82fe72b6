"""Recorded conversations: a readable file of calls and what they ended with, and the values in it."""
