"""A short fuzz: some thousand mutants, the same ones each time; ``make fuzz`` runs as many more.

Every one must load, or be refused in one sentence: no other exception, no second line. Of a single
fault in a model file, the sentence names the field and the value, or what does not fit them.
"""

import pytest

from tests.fuzz.subjects import SUBJECTS, attempt, mutant

SEED = 20261125
# About twenty seconds: all single faults of a model; others, so that they load now and then.
COUNTS = {
    "models": 3188,
    "builds": 500,
    "targets": 500,
    "recipes": 500,
    "checkpoints": 40,
    "templates": 100,
}


@pytest.mark.parametrize("name", SUBJECTS)
def test_every_mutant_loads_or_is_refused_in_one_sentence(name, tmp_path):
    subject, sentences, loaded = SUBJECTS[name](tmp_path), set(), 0
    for index in range(COUNTS[name]):
        mutant(subject, SEED, index)
        try:
            sentence = attempt(subject)
        except Exception as error:
            error.add_note(
                f"again: make fuzz ARGS='--seed {SEED} --first {index} --count 1 {name}'"
            )
            raise
        if sentence is None:
            loaded += 1
        else:
            sentences.add(sentence)
            if subject.faults and index % 2 == 0:
                fault = subject.fault(SEED, index // 2)
                assert subject.names(fault, sentence), (fault, sentence)
    # Or most of it would be vacuous: mutants that differ, and that get far.
    assert loaded > 0.05 * COUNTS[name]
    assert len(sentences) > 0.15 * COUNTS[name]


def test_the_same_numbers_give_the_same_mutant(tmp_path):
    for name in ("models", "targets", "recipes"):
        (tmp_path / name).mkdir()
        subject = SUBJECTS[name](tmp_path / name)
        found = []
        for seed, index in ((1, 5), (1, 6), (2, 5), (1, 5)):
            mutant(subject, seed, index)
            found.append(subject.path.read_bytes())
        assert found[0] == found[3]
        assert len(set(found)) == 3
