"""``python -m tilespec`` is the command line."""

from tilespec.cli import main

main()
