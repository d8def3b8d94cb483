"""`python -m kstyle`: the command line."""

from kstyle.cli import main

if __name__ == "__main__":
    main()
