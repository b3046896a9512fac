"""Entry point of ``ffmpi`` and ``python -m ffmpi``."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext, redirect_stdout

import click

from .cli import app
from .errors import UserError
from .launch import launched_rank
from .mpi import no_memory
from .stop import INTERRUPTED


def main() -> None:
    """Run the command line: wrong usage and bad input cost one sentence, on one rank, and exit status 2."""
    # Only rank 0 prints, help and versions, too.
    quiet = redirect_stdout(open(os.devnull, "w")) if launched_rank() > 0 else nullcontext()  # noqa: SIM115
    status = 2
    try:
        with quiet:
            sys.exit(app(prog_name="ffmpi", standalone_mode=False))
    except click.exceptions.NoArgsIsHelpError as error:
        message = error.format_message()
    except click.ClickException as error:
        message = f"ffmpi: {error.format_message().rstrip('.')}; see 'ffmpi --help'"
    except click.Abort:
        message, status = "ffmpi: interrupted by Ctrl-C", INTERRUPTED
    except UserError as error:
        message = f"ffmpi: {error}"
    except MemoryError as error:
        message = f"ffmpi: {no_memory(error)}"
    # Every rank finds the same fault in the same command line, before MPI has started: one of them says so.
    if launched_rank() == 0:
        print(message, file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main()
