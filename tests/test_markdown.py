"""Tables in Markdown."""

from lightmamba.common.markdown import to_markdown


def test_columns_of_figures_align_to_the_right():
    rows = [["u280", "**303.3**", "1.92 × theirs", "a choice"], ["kv260", "–", "× 1.1 [1, 2]", "2"]]
    assert to_markdown(["target", "tokens/s", "ratio", "note"], rows).splitlines() == [
        "| target | tokens/s | ratio | note |",
        "| --- | ---: | ---: | --- |",
        "| u280 | **303.3** | 1.92 × theirs | a choice |",
        "| kv260 | – | × 1.1 [1, 2] | 2 |",
    ]


def test_a_bar_is_escaped_and_no_row_is_a_table_too():
    assert to_markdown(["a|b", "c"], []) == "| a\\|b | c |\n| --- | --- |\n"
    assert "| x\\|y |" in to_markdown(["a"], [["x|y"]])
