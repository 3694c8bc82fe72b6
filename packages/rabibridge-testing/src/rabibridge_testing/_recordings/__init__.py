"""Recorded conversations: a readable file of calls and what they ended with, and the values in it.

What records and replays them on a broker belongs to the fakes.
"""
