"""The one exception that means "the user can mend this"."""


class UserError(Exception):
    """A mistake in what the user gave: a config key, a name, a file.

    The message is one line that names the key, what came, what was expected and what to do.
    The command line prints it without a traceback and exits with status 2.
    """
