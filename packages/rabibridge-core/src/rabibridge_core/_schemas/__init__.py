"""Describes services in documents, for people and programs that have not their code, and reads such documents.

What is described comes from functions, from workers or from a file. Workers and files are not trusted: what they say is
checked here, and no text of theirs becomes code.
"""
