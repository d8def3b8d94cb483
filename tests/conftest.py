"""Ctrl-C reaches the tests' programs, which a shell that starts the tests in the background would have ignore it."""

import signal

signal.signal(signal.SIGINT, signal.default_int_handler)
