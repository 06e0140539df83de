"""The store of results on a disk that fails at any write: nothing that was kept is lost."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from lightmamba.common.store import read_store
from tests.crash.disk import MEMORY, Mode, on_failing_disk
from tests.crash.works import Change, change_store

KEYS = st.sampled_from("abc")
ADD = st.tuples(KEYS, st.text(max_size=20))
CHANGE = st.one_of(ADD, ADD, st.frozensets(KEYS, min_size=1))


def changed(records: dict[str, str], change: Change) -> dict[str, str]:
    """Values by key after a change."""
    if isinstance(change, frozenset):
        return {key: value for key, value in records.items() if key in change}
    key, value = change
    return {**records, key: value}


class Stores(RuleBasedStateMachine):
    """Processes that change a store, one after the other, on a disk that fails now and then."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(dir=MEMORY)
        self.path, self.records = Path(self.folder.name) / "results.jsonl", dict[str, str]()

    def teardown(self) -> None:
        self.folder.cleanup()

    @rule(
        changes=st.lists(CHANGE, min_size=1, max_size=4), n=st.integers(0, 100),
        mode=st.sampled_from(Mode),
    )  # fmt: skip
    def change(self, changes: Sequence[Change], n: int, mode: Mode) -> None:
        """All that was said to be kept is there; of what was under way, all or nothing."""
        n = 1 + n % (3 * len(changes))  # at most three operations of each
        outcome = on_failing_disk(self.path.parent, n, mode, change_store, self.path, changes)
        for change, kept in zip(changes, outcome.said, strict=False):
            self.records = changed(self.records, change) if kept is True else self.records
        may_be = [self.records]
        if outcome.ended and len(outcome.said) < len(changes):
            may_be.append(changed(self.records, changes[len(outcome.said)]))
        if self.path.exists():
            found = {record.key: record.values["is"] for record in read_store(self.path)}
        else:
            found = {}
        assert found in may_be
        self.records = found


def test_what_is_kept_stays():
    run_state_machine_as_test(Stores, settings=settings(max_examples=20, stateful_step_count=10))
