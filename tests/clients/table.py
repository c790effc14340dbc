"""The table of docs/PROTOCOL.md: which call of which client works at a worker and through the gateway.

A check names the public calls that it proves (`@calls`). What passed makes the table, so that it cannot say more than
was seen; a full run compares it with the one in the document.
"""

import importlib.metadata
import pathlib

DOCUMENT = pathlib.Path(__file__).resolve().parents[2] / "docs/PROTOCOL.md"
FIRST_MARK = "<!-- written by tests/clients/run.py --write -->"
LAST_MARK = "<!-- end of what run.py writes -->"
SIDES = ("worker", "gateway")
WORKS = "yes"
FAILS = "FAILS"


def calls(*names, refused=None):
    """Marks a check with the calls it proves; its class has a `package`, perhaps a `flavour`, and a `side`.

    A name is the client's own, then perhaps a colon and the variant. With `refused`, a reason, the cell is the status
    by which the server refuses the call, as it should; `status` of the class tells it.
    """

    def mark(method):
        method.calls = dict.fromkeys(names, refused)
        return method

    return mark


def public(kind):
    """The names of a client's public calls."""
    return {name for name in dir(kind) if not name.startswith("_") and callable(getattr(kind, name))}


def proven(checks):
    """The names of the calls that the checks of a class prove, without their variants."""
    marked = [getattr(getattr(checks, name), "calls", {}) for name in dir(checks)]
    return {call.split(":")[0] for names in marked for call in names}


class Table:
    """What was seen, by client (package and flavour) and call."""

    def __init__(self):
        self.cells = {}
        self.incomplete = set()

    def record(self, test, passed):
        """Takes in a check that has ended."""
        found = getattr(getattr(test, getattr(test, "_testMethodName", ""), None), "calls", {})
        for call, reason in found.items():
            row = self.cells.setdefault((test.package, getattr(test, "flavour", ""), call), {})
            if not passed:
                row[test.side] = FAILS
            else:
                row.setdefault(test.side, test.status(reason) if reason else WORKS)

    def skip(self, package):
        """A client that this machine cannot run: its rows stay as the document has them."""
        self.incomplete.add(package.split()[0])

    def told(self):
        """What was seen, as JSON has it; `add` takes it in."""
        return {"cells": [[*key, row] for key, row in self.cells.items()], "incomplete": sorted(self.incomplete)}

    def add(self, told):
        """Takes in what another process saw."""
        self.incomplete.update(told["incomplete"])
        for *key, row in told["cells"]:
            self.cells[tuple(key)] = row

    def lines(self, document):
        """The table, in alphabetical order, flavours of equal cells in one row; `document` is where it stands."""
        rows = {key: tuple(row.get(side, "-") for side in SIDES) for key, row in self.cells.items()}
        rows |= {key: cells for key, cells in written(document).items() if key[0].split()[0] in self.incomplete}
        together = {}
        for (package, flavour, call), cells in sorted(rows.items()):
            together.setdefault((package, call, cells), []).append(flavour)
        yield "| client | call | flavour | worker | gateway |"
        yield "|---|---|---|---|---|"
        for (package, call, cells), flavours in sorted(together.items()):
            yield f"| {package} | {call} | {', '.join(flavours)} | {' | '.join(cells)} |"

    def differs(self):
        """Whether the document says something else than was seen."""
        text = DOCUMENT.read_text()
        return self.inserted(text) != text

    def write(self):
        """Brings the document up to date."""
        DOCUMENT.write_text(self.inserted(DOCUMENT.read_text()))

    def inserted(self, text):
        """The document with this table in the place of its own."""
        before, _, rest = text.partition(FIRST_MARK)
        _, _, after = rest.partition(LAST_MARK)
        return "\n".join([before + FIRST_MARK, *self.lines(text), LAST_MARK + after])


def written(text):
    """The rows of the document's table."""
    _, _, rest = text.partition(FIRST_MARK)
    inside, _, _ = rest.partition(LAST_MARK)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in inside.strip().splitlines()[2:]]
    return {
        (package, flavour, call): tuple(cells)
        for package, call, flavours, *cells in rows
        for flavour in flavours.split(", ")
    }


def version(package):
    """A package's name and version, as the table names clients."""
    return f"{package} {importlib.metadata.version(package)}"
