"""Entry point of ``ffmpi`` and ``python -m ffmpi``."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext, redirect_stdout, suppress

import click

from .cli import WITH_MPI, app
from .errors import UserError
from .launcher import launched, launched_rank
from .output import complaint, is_about_output, open_missing
from .runtime.mpi import no_memory
from .runtime.stop import INTERRUPTED


def main() -> None:
    """Run the command line: wrong usage and bad input cost one sentence, on one rank, and exit status 2."""
    open_missing()
    # Only rank 0 prints, help and versions, too.
    quiet = redirect_stdout(open(os.devnull, "w")) if launched_rank() > 0 else nullcontext()  # noqa: SIM115
    status = 2
    try:
        with quiet:
            result = app(prog_name="ffmpi", standalone_mode=False)
            sys.stdout.flush()
        sys.exit(result)
    except click.exceptions.NoArgsIsHelpError as error:
        message = error.format_message()
    except click.Abort:
        message, status = "ffmpi: interrupted by Ctrl-C", INTERRUPTED
    except click.ClickException as error:
        message = _refuse(f"{error.format_message().rstrip('.')}; see 'ffmpi --help'")
    except UserError as error:
        message = _refuse(str(error))
    except MemoryError as error:
        message = _refuse(str(no_memory(error)))
    except OSError as error:
        if not is_about_output(error):
            raise
        message = (told := complaint(error)) and f"ffmpi: {told}"
    if launched_rank() == 0 and message:
        print(message, file=sys.stderr)
    sys.exit(status)


def _refuse(fault: str) -> str:
    """Return what to say of a fault that was found before MPI has started.

    Mostly all ranks have found it, in the same command line. Where only some have, as on a host of other variables, the
    others wait for these: then this does not return, and the lowest of them says so.
    """
    if launched() and sys.argv[1:2] and sys.argv[1] in WITH_MPI:
        from .runtime import agreement, mpi

        with suppress(UserError):  # of MPI's start, on all ranks
            mpi.run(lambda comm: agreement.refuse(comm, sys.argv[1:], fault))
    return f"ffmpi: {fault}"


if __name__ == "__main__":
    main()
