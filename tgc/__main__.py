"""`python -m tgc` is the `tgc` command."""

from tgc.cli import main

main()
