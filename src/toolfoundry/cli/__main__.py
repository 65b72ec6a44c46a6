"""`python -m toolfoundry.cli`: the command, where it is not on the path."""

from toolfoundry.cli.main import main

if __name__ == "__main__":  # not in the processes that a build starts
    main()
