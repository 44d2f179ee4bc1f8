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
        print(f"error: {error}", file=sys.stderr)
    except OSError as error:
        print(f"error: {error.filename or ''}: {error.strerror or error}", file=sys.stderr)
    return 1
