"""Reads all data once, in bounded memory, and tells every place that cannot be learnt from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Final

from attrs import asdict, field, mutable

from inference_server.tune.data_files import DataFile, refusal
from inference_server.tune.example import BadRowError, Columns, Example, Form, example, unknown_form
from inference_server.tune.rows import Fault

SHOWN: Final = 5
"""Faults that the refusal names; a termination message has 4096 bytes."""
_FAULT_LETTERS: Final = 400


@mutable(kw_only=True)
class Examination:
    """What was found so far.

    Attributes:
        files: what is read.
        columns: the names of columns that the user may have changed.
        form: the form of the first good row, which all others must have.
        rows: good rows.
        faults: broken places, of which `first` holds the first few.
    """

    files: Sequence[DataFile]
    columns: Columns
    form: Form | None = None
    rows: int = 0
    faults: int = 0
    first: list[Fault] = field(factory=list)
    _digest: hashlib._Hash = field(factory=hashlib.sha256, init=False)

    def examples(self) -> Iterator[Example]:
        """Everything that can be learnt from, in order; what cannot is counted, and told by `refuse_faults`."""
        for file in self.files:
            for found in file.rows(self.columns.wanted()):
                one = found if isinstance(found, Fault) else self._example(found.place, dict(found.columns))
                if isinstance(one, Fault):
                    self._count(one)
                    continue
                self.rows += 1
                self._digest.update(json.dumps(asdict(one), sort_keys=True).encode())
                yield one

    def run(self) -> None:
        """Reads everything, keeps nothing. Raises InputError when anything is broken."""
        for _ in self.examples():
            pass
        self.refuse_faults()

    @property
    def digest(self) -> str:
        """Of all that was read, so that equal data is known again."""
        return self._digest.hexdigest()

    def refuse_faults(self) -> None:
        """Raises InputError, with the first few places, when a row was broken or there was none."""
        if self.faults:
            told = "; ".join(str(fault)[:_FAULT_LETTERS] for fault in self.first)
            more = f"; and {self.faults - len(self.first)} more" if self.faults > len(self.first) else ""
            count = f"{self.faults} of {self.faults + self.rows} rows that cannot be"
            raise refusal("data", "rows that can be learnt from", f"{count}: {told}{more}", "mend or remove them")
        if not self.rows:
            names = ", ".join(file.name for file in self.files)[:300]
            raise refusal("data", "at least one row", f"none in {names}")

    def _example(self, place: str, row: dict[str, object]) -> Example | Fault:
        self.form = self.form or self.columns.form_of(row)
        if self.form is None:
            return Fault(place, unknown_form(row))
        try:
            return example(row, self.form, self.columns)
        except BadRowError as error:
            return Fault(place, str(error))

    def _count(self, fault: Fault) -> None:
        self.faults += 1
        if len(self.first) < SHOWN:
            self.first.append(fault)
