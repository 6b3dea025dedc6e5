"""The one exception a user can cause: its message is one clear line, and the command line ends with exit code 2."""


class InputError(ValueError):
    """Bad input: the message says what is wrong, where, and what would be right."""
