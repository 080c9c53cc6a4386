"""What the quick start asks the model."""

from __future__ import annotations

from local_cluster.lessons import first_lesson


def test_the_first_lesson_is_the_one_of_the_readme() -> None:
    """The README's question is the first lesson's, so its answer can be compared word for word."""
    assert first_lesson().question == "What is KAITO?"
    assert first_lesson().answer.startswith("KAITO turns one YAML file")
