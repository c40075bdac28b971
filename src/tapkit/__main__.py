"""`python -m tapkit`: the command line."""

from tapkit.cli.main import main

if __name__ == "__main__":
    main()
