"""How a test says that something fails in one line."""

import pytest


def fails(error, call, *parts):
    """The one line that `call` fails with, which holds these parts."""
    with pytest.raises(error) as caught:
        call()
    line = str(caught.value)
    assert "\n" not in line and all(part in line for part in parts), line
    return line
