"""What `--vary KEY=VALUE,...` says: settings with several values each."""

from kstyle.errors import UsageError
from kstyle.io.files import one_line

OPEN, CLOSE, QUOTES = "[{(", "]})", "'\""


def parse_all_vary(texts):
    """`[parse_vary(text), …]`. UsageError: one key twice."""
    vary = [parse_vary(text) for text in texts]
    keys = [key for key, _ in vary]
    for key in keys:
        if keys.count(key) > 1:
            raise UsageError(f"--vary {key} is there twice; give all its values at once.")
    return vary


def parse_vary(text):
    """`"style.weight=1,10"` -> `("style.weight", ["1", "10"])`.

    Commas in brackets or quotes do not separate; each value is YAML, which is read but kept as it was written.

    Raises:
        UsageError: no key, no value, or a value that is not YAML.
    """
    from kstyle import config  # here, as --help needs none of it

    key, equals, rest = text.partition("=")
    key = key.strip()
    if not equals or not key:
        raise UsageError(f"--vary expects key=value,value,…, for example style.weight=1,10,100; got '{text}'.")
    pieces = _split(rest)
    if not all(pieces):
        raise UsageError(f"--vary {one_line(text)}: a value is missing.")
    repeated = next((piece for piece in pieces if pieces.count(piece) > 1), None)
    if repeated is not None:
        raise UsageError(f"--vary {one_line(text)}: {repeated} is there twice.")
    for piece in pieces:
        try:
            config.parse_override(f"{key}={piece}")
        except UsageError as error:
            raise UsageError(str(error).replace("--set", "--vary", 1)) from error
    return key, pieces


def _split(text):
    pieces, depth, quote = [""], 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in QUOTES and (pieces[-1].rstrip()[-1:] or ",") in "[{(,:":  # not the one in d'or
            quote = character
        elif character in OPEN:
            depth += 1
        elif character in CLOSE:
            depth -= 1
        elif character == "," and depth <= 0:
            pieces.append("")
            continue
        pieces[-1] += character
    return [piece.strip() for piece in pieces]
