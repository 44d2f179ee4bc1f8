# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The one error type for bad input, and the wrapper that turns it into one line and exit code 1.

Library code raises `UserError`; only command-line mains catch it, so that an embedding program still sees
an ordinary exception.
"""

import sys


class UserError(ValueError):
    """Bad input: the message is one line that names the field, file or flag and what would be accepted."""


def run_main(main, argv=None):
    """Run `main(argv)`; a `UserError` or a missing/unreadable file becomes one line on stderr and exit code 1."""
    try:
        return main(sys.argv[1:] if argv is None else argv) or 0
    except UserError as error:
        _say(str(error))
    except OSError as error:
        # Libraries raise some without a file name; then their text is all there is.
        _say(f"{error.filename}: {error.strerror or error}" if error.filename is not None else str(error))
    return 1


def one_line(error: Exception, most: int | None = 200) -> str:
    """A library's text about `error` as part of a message of ours: on one line, and cut to `most` characters."""
    return " ".join(str(error).split())[:most]


def _say(message: str) -> None:
    """Print an error as one line, also where a library's text or a file's name has several."""
    print(f"error: {' '.join(message.splitlines())}", file=sys.stderr)
