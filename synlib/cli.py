"""How a command ends: with an exit code, and one line that says what went wrong."""

import os
import sys
from collections.abc import Callable

try:
    import click
except ModuleNotFoundError as error:
    raise SystemExit(f"{error}: type `source .venv/bin/activate` first; `make setup` makes .venv") from None


def exit_code(command: Callable[[], int | None]) -> int:
    """The code that ``command`` returns (None: 0); 1 error, 2 wrong usage, 130 interrupt, said on standard error."""
    try:
        code = command()
        sys.stdout.flush()
        return code or 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except BrokenPipeError:  # the reader of its output has left, as ``| head`` does: that is no error to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is still buffered
        return 1
    except (KeyboardInterrupt, click.Abort):  # click's name of it
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    except (OSError, ValueError, RuntimeError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
