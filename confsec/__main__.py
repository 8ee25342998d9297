"""`python -m confsec` is the command line."""

from confsec.cli import main

if __name__ == "__main__":
    main()
