"""Setting up the development environment; standard library only: nothing is installed yet."""
