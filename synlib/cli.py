"""How a command ends: with an exit code, and one line that says what went wrong."""

import sys
from collections.abc import Callable


def exit_code(command: Callable[[], int]) -> int:
    """The code that ``command`` returns, or, told on standard error, 1 for an error and 130 for an interrupt."""
    try:
        return command()
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    except (OSError, ValueError, RuntimeError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
