"""The one exception that means "what was given cannot be used"."""


class InputError(Exception):
    """Something the user gave cannot be used; commands print it as one sentence and exit with 2.

    The message names the place (file, field), the value found there, and the way out.
    """
