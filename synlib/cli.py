"""How a command ends: with an exit code, and one line that says what went wrong."""

import os
import sys
from collections.abc import Callable


def exit_code(command: Callable[[], int]) -> int:
    """The code that ``command`` returns, or, told on standard error, 1 for an error and 130 for an interrupt.

    Where the reader of its output has left, as ``| head`` does, it ends without a word.
    """
    try:
        code = command()
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still to be written at the end
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    except (OSError, ValueError, RuntimeError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
