"""Edits: one transaction and one event for all of them."""

from __future__ import annotations

from collections.abc import Sequence

from tapkit.annotate import history, rules
from tapkit.annotate.applying import apply
from tapkit.annotate.database import Database, lock_clip
from tapkit.annotate.edits import Edit
from tapkit.annotate.recorder import Recorder, Who, summed_up
from tapkit.annotate.values import Change

__all__ = ["Who", "edit"]


def edit(database: Database, clip: int, edits: Sequence[Edit], base: int | None, who: Who, force: bool) -> Change:
    """See `Project.edit`."""
    with database.write() as connection:
        row = lock_clip(connection, clip)
        layer = rules.layer_to_change(connection, clip, who.user, edits)
        if base is not None and not force:
            touched = {point for each in edits for point in each.touched}
            history.check(connection, clip, layer, touched, base, who)
        record = Recorder.begin(connection, row, layer, who, "edit")
        texts = [apply(record, database, each) for each in edits]
        return record.finish(summed_up(texts))
