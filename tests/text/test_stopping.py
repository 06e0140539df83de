import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightmamba.text.continuation import StopMatcher


def feed(stops, pieces):
    """Texts that came out after each piece and at the end, and whether it stopped."""
    matcher = StopMatcher(stops)
    return [matcher.push(piece) for piece in pieces], matcher.finish(), matcher.stopped


@pytest.mark.parametrize(
    ("stops", "pieces", "expected"),
    [
        ([], ["ab", "c"], (["ab", "c"], "", False)),
        (["END"], ["abEND", "more"], (["ab", ""], "", True)),
        # across pieces, each held back while it may be the beginning
        (["END"], ["aE", "N", "Dx"], (["a", "", ""], "", True)),
        (["END"], ["aE", "N", "x"], (["a", "", "ENx"], "", False)),
        (["END"], ["aEN"], (["a"], "EN", False)),
        # a false beginning gives way to a true one
        (["aab"], ["aa", "a", "b"], (["", "a", ""], "", True)),
        # the one that ends first; of those, the longest
        (["bcde", "c"], ["ab", "cde"], (["a", "b"], "", True)),
        (["c", "bc"], ["abc"], (["a"], "", True)),
        (["END"], ["END"], ([""], "", True)),
        ("ab", ["xb", "ab"], (["xb", ""], "", True)),  # one stop, not two
    ],
)
def test_worked_values(stops, pieces, expected):
    assert feed(stops, pieces) == expected


@given(
    stops=st.lists(st.text("ab", min_size=1, max_size=4), max_size=3),
    pieces=st.lists(st.text("abc", max_size=4), max_size=6),
)
def test_cuts_do_not_matter(stops, pieces):
    """Letter by letter is the definition; a stop string never comes out."""
    given_, rest, stopped = feed(stops, pieces)
    letters, letters_rest, letters_stopped = feed(stops, "".join(pieces))
    assert ("".join(given_) + rest, stopped) == ("".join(letters) + letters_rest, letters_stopped)
    whole = "".join(pieces)
    assert stopped == any(stop in whole for stop in stops)
    assert not any(stop in "".join(given_) + rest for stop in stops)
    assert whole.startswith("".join(given_) + rest)
    if not stopped:
        assert "".join(given_) + rest == whole
