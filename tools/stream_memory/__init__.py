"""Streams a lot through a broker, and measures how much memory that takes in the worker, the broker and the reader."""
