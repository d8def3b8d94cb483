"""Tables as people write them: CSV with commas, semicolons or tabs, each row checked against the header."""

import codecs
import csv
import io
import os

from kstyle.errors import DataError
from kstyle.io.files import plain, read_bytes

SEPARATORS = ",;\t"
MOST_BYTES = 1 << 28  # that of ImageNet's 1.3 million has 50 million
MOST_COLUMNS = 1000
MOST_IN_LINE = 1 << 16  # characters; more than the longest path by far


def read(path, columns, optional=()):
    """The wanted columns of a table whose first line is a header.

    Quotes hold what has a separator in it (RFC 4180). Empty rows are passed over, a byte-order mark too; a row has as
    many fields as the header, or more or fewer where only empty ones or columns that nobody reads are concerned.

    Args:
        path: of the file, UTF-8 or UTF-16 with its mark.
        columns: {what: names it may have in the header, lower case}.
        optional: of `columns`, what need not be there.

    Returns:
        ([(number of the line, from 1, {what: text without blanks around it})], tuple of what there is).

    Raises:
        DataError: it cannot be read, is no table, lacks a column, or a row does not fit the header.
    """
    rows = _rows(path)
    head_line, head = next(rows, (1, []))
    names = [name.strip().lower() for name in head]
    where = {}
    for what, known in columns.items():
        index = next((names.index(name) for name in known if name in names), None)
        if index is not None:
            where[what] = index
        elif what not in optional:
            raise DataError(f"{path}: expected a column {' or '.join(known)} in the header; found {plain(head)}.")
    last, found = max(where.values()), []
    for number, row in rows:
        if len(row) <= last or any(text.strip() for text in row[len(head) :]):
            raise DataError(
                f"{path}: line {number} has {len(row):,} fields, the header in line {head_line} has {len(head):,}: "
                f"'{plain(', '.join(row))}'. A path or a label with a comma in it is put in quotes: \"a, b.png\"."
            )
        found.append((number, {what: row[index].strip() for what, index in where.items()}))
    return found, tuple(where)


def header(path):
    """The names of a table's columns, as they are written there.

    Raises:
        DataError: as `read`.
    """
    return [name.strip() for name in next(_rows(path), (1, []))[1]]


def _rows(path):
    """A generator of (number of the line, fields) of the rows that are not empty, the header first."""
    text = _text(path)
    marked = text[:6].lower()
    if marked[:4] == "sep=" and text[5:6] in "\r\n":  # Excel's own
        separator, text = marked[4:5], text[5:]
    else:
        begin = next((line for line in text.splitlines()[:20] if line.strip()), "")[:MOST_IN_LINE]
        separator = max(SEPARATORS, key=begin.count)
    lines = io.StringIO(text, newline="")

    def bounded():
        for line in iter(lambda: lines.readline(MOST_IN_LINE), ""):
            if len(line) == MOST_IN_LINE:
                raise DataError(f"{path}: expected a table; a line has more than {MOST_IN_LINE:,} characters.")
            yield line

    reader = csv.reader(bounded(), delimiter=separator, strict=True, skipinitialspace=True)
    begin, head = 1, True
    try:
        for row in reader:
            if any(map(str.strip, row)):
                if head and len(row) > MOST_COLUMNS:
                    raise DataError(f"{path}: expected a table; the header has {len(row):,} columns.")
                head = False
                yield begin, row
            begin = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path}: is no table from line {begin} on ({plain(error)}): is a quote left open?") from error


def _text(path):
    try:
        raw = read_bytes(path, MOST_BYTES)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from error
    utf16 = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return raw.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}: line {line} is not in UTF-8 (byte 0x{raw[error.start]:02x}): save the table as UTF-8."
        ) from error


def only(folder, names):
    """The one table of a folder, given the names of its files. DataError where there is none, or several."""
    tables = [name for name in names if name.lower().endswith((".csv", ".tsv"))]
    if len(tables) != 1:
        raise DataError(f"{folder}: expected one .csv there, found {len(tables)}: give the file.")
    return os.path.join(folder, tables[0])
