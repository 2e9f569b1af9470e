"""`python -m pointsman.cli`."""

from pointsman.cli import main

if __name__ == "__main__":
    main()
