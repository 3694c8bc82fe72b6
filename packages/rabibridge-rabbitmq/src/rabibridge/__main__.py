"""Runs the command: ``python -m rabibridge`` is ``rabibridge`` of this very interpreter."""

from rabibridge.cli import main

if __name__ == "__main__":
    main()
