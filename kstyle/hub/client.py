"""The library of the Hub, and what it raises, in one line. The endpoint and the token are found in its own ways."""

import contextlib

from kstyle.errors import DataError, UsageError
from kstyle.io.files import one_line, plain

SIGN_IN = "sign in with `hf auth login`, or set HF_TOKEN"


def library():
    """The module `huggingface_hub`. UsageError: it is not installed."""
    try:
        import huggingface_hub.errors
        import huggingface_hub.utils
    except ImportError as error:
        raise UsageError("Sharing takes the package huggingface_hub: pip install 'kstyle[hub]'.") from error
    return huggingface_hub


@contextlib.contextmanager
def talking(repository):
    """`with talking("me/cats"):` what goes wrong between here and the Hub is a DataError that names the repository."""
    errors = library().errors
    try:
        yield
    except errors.LocalTokenNotFoundError as error:
        raise DataError(f"{repository}: no token of the Hub is on this machine: {SIGN_IN}.") from error
    except errors.RepositoryNotFoundError as error:
        said = f"is not there, or not for you to see: check the name, or {SIGN_IN}"
        raise DataError(f"{repository}: {said}.") from error
    except errors.RevisionNotFoundError as error:
        raise DataError(f"{repository}: has no such revision.") from error
    except errors.OfflineModeIsEnabled as error:
        raise DataError(f"{repository}: HF_HUB_OFFLINE is set, so the Hub is not asked.") from error
    except errors.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        hint = f": {SIGN_IN}, with the right to write there" if status in (401, 403) else ""
        message = plain(getattr(error, "server_message", None) or "", 160)
        raise DataError(f"{repository}: the Hub says {status}{f' ({message})' if message else ''}{hint}.") from error
    except (DataError, UsageError):
        raise
    except (
        OSError,
        ValueError,
        RuntimeError,
    ) as error:  # a file that went away; what the library finds wrong in an answer
        raise DataError(f"{repository}: {plain(one_line(error), 200).rstrip('.')}.") from error
    except Exception as error:
        # What the library's HTTP client raises where no host answers; which client that is changed with its versions.
        if type(error).__module__.partition(".")[0] not in ("httpx", "httpx2", "httpcore", "httpcore2", "requests"):
            raise
        raise DataError(f"{repository}: the Hub cannot be reached ({plain(error, 160).rstrip('.')}).") from error
