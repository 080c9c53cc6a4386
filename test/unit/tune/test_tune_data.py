"""What data is read, what is learnt from it, and how a broken row is told. No library is needed but for Parquet."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from inference_server import contract
from inference_server.refusal import InputError
from inference_server.tune import data_files, rows
from inference_server.tune.examination import Examination
from inference_server.tune.example import Columns, Conversation, Exchange, Form, Text

GOOD = {"prompt": "What makes green?", "completion": "Blue and yellow."}


def examined(folder: Path, columns: Columns | None = None, **choice: str) -> Examination:
    files = data_files.choose(folder, path=choice.get("path"), extension=choice.get("extension"))
    return Examination(files=files, columns=columns or Columns())


def learnt(folder: Path, columns: Columns | None = None, **choice: str) -> list[object]:
    examination = examined(folder, columns, **choice)
    found = list(examination.examples())
    examination.refuse_faults()
    return found


def refused(folder: Path, **choice: str) -> str:
    with pytest.raises(InputError) as caught:
        learnt(folder, **choice)
    assert caught.value.exit_code == contract.EXIT_DATA
    return str(caught.value)


def lines(*values: object) -> str:
    return "".join(f"{value if isinstance(value, str) else json.dumps(value)}\n" for value in values)


@pytest.mark.parametrize(
    ("row", "columns", "wanted"),
    [
        (GOOD, Columns(), Exchange("What makes green?", "Blue and yellow.")),
        ({"instruction": "Add.", "input": "1 1", "output": "2"}, Columns(), Exchange("Add.\n\n1 1", "2")),
        ({"instruction": "Add.", "input": "", "output": "2"}, Columns(), Exchange("Add.", "2")),
        ({"instruction": "Add.", "output": "2"}, Columns(), Exchange("Add.", "2")),
        ({"text": "A story."}, Columns(), Text("A story.")),
        ({"story": "A story.", "id": 7}, Columns(response="story"), Text("A story.")),
        ({"q": "a", "a": "b", "text": "c"}, Columns(context="q", response="a"), Exchange("a", "b")),
        (
            {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
            Columns(),
            Conversation([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]),
        ),
        (
            {"talk": [{"role": "assistant", "content": "b", "name": "x"}]},
            Columns(messages="talk"),
            Conversation([{"role": "assistant", "content": "b"}]),
        ),
        (
            {"prompt": [{"role": "user", "content": "a"}], "completion": [{"role": "assistant", "content": "b"}]},
            Columns(),
            Exchange([{"role": "user", "content": "a"}], [{"role": "assistant", "content": "b"}]),
        ),
    ],
)
def test_every_documented_form_is_learnt(tmp_path, row, columns, wanted):
    (tmp_path / "data.jsonl").write_text(lines(row))
    assert learnt(tmp_path, columns) == [wanted]


def test_the_same_rows_in_every_kind_of_file(tmp_path):
    table = [{"prompt": f'a, "{n}"\nb', "completion": "ü"} for n in range(3)]
    for name, text in {
        "one/data.jsonl": lines(*table),
        "two/data.json": json.dumps(table, indent=1),
        "three/data.json": lines(*table),
        "four/data.csv": "prompt,completion\r\n" + "".join(f'"a, ""{n}""\nb",ü\r\n' for n in range(3)),
        "five/data.csv": "\ufeffprompt,completion\n" + "".join(f'"a, ""{n}""\nb",ü\n\n' for n in range(3)),
    }.items():
        path = tmp_path / name
        path.parent.mkdir()
        path.write_text(text, encoding="utf-8", newline="")
        assert learnt(path.parent) == [Exchange(row["prompt"], row["completion"]) for row in table], name


def test_messages_in_a_csv_file_are_json(tmp_path):
    talk = json.dumps([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]).replace('"', '""')
    (tmp_path / "data.csv").write_text(f'messages\n"{talk}"\n"[]"\n"x"\n')
    told = refused(tmp_path)
    assert "2 of 3 rows" in told
    assert "data.csv:3: messages: no message of the role assistant" in told
    assert "data.csv:4: messages: not JSON" in told


def test_several_files_are_read_by_name(tmp_path):
    (tmp_path / "b.jsonl").write_text(lines({"text": "2"}))
    (tmp_path / "a.jsonl").write_text(lines({"text": "1"}))
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "c.ndjson").write_text(lines({"text": "3"}))
    (tmp_path / "readme.json.md").write_text("no data")
    assert learnt(tmp_path) == [Text("1"), Text("2"), Text("3")]


def test_files_of_two_kinds_leave_open_which_are_meant(tmp_path):
    (tmp_path / "a.jsonl").write_text(lines({"text": "1"}))
    (tmp_path / "b.csv").write_text("text\n2\n")
    assert "files of one kind, found csv, json files; name the one that is meant" in refused(tmp_path)
    assert learnt(tmp_path, extension="csv") == [Text("2")]
    assert learnt(tmp_path, extension=".JSONL") == [Text("1")]
    assert learnt(tmp_path, path="b.csv") == [Text("2")]
    assert "did you mean json" in refused(tmp_path, extension="jsonk")


def test_a_download_without_an_ending_is_what_the_user_says(tmp_path):
    (tmp_path / "resolve").write_text("text\n2\n")
    assert "a file that ends in .json" in refused(tmp_path)
    assert learnt(tmp_path, extension="csv") == [Text("2")]


def test_files_of_a_mounted_configmap_are_read_once(tmp_path):
    (tmp_path / "..2026").mkdir()
    (tmp_path / "..2026" / "a.jsonl").write_text(lines({"text": "1"}))
    (tmp_path / "..data").symlink_to("..2026")
    (tmp_path / "a.jsonl").symlink_to("..data/a.jsonl")
    assert learnt(tmp_path) == [Text("1")]


def test_a_link_out_of_the_folder_is_not_followed(tmp_path):
    secret = tmp_path / "secret.jsonl"
    secret.write_text(lines({"text": "token"}))
    data = tmp_path / "data"
    data.mkdir()
    (data / "a.jsonl").symlink_to(secret)
    assert "a link to somewhere else" in refused(data)
    assert "outside it" in refused(data, path="../secret.jsonl")


@pytest.mark.parametrize("kind", ["empty folder", "empty file", "blank lines", "empty list", "header alone"])
def test_nothing_to_learn_from_is_refused(tmp_path, kind):
    names = {"empty list": "a.json", "header alone": "a.csv"}
    texts = {"empty file": "", "blank lines": "\n \n", "empty list": "[ ]", "header alone": "prompt,completion\n"}
    if kind in texts:
        (tmp_path / names.get(kind, "a.jsonl")).write_text(texts[kind])
    told = refused(tmp_path)
    assert "found an empty folder" in told if kind == "empty folder" else "at least one row" in told


def test_a_missing_folder_is_refused(tmp_path):
    assert "No such file" in refused(tmp_path / "none")


BROKEN = [
    ('{"prompt": "a" "completion": "b"}', "not JSON: Expecting ',' delimiter at column 16"),
    ('["a"]', "an object with the columns of the row is needed, found ['a']"),
    (
        '{"prompt": "a"}',
        "the column 'completion' is missing or null, found ['prompt']; all rows need prompt and completion",
    ),
    ('{"prompt": "a", "completion": null}', "the column 'completion' is missing or null"),
    ('{"prompt": "a", "completion": 7}', "completion: a text is needed, found 7"),
    ('{"prompt": "a", "completion": " "}', "completion: empty, so there is nothing to learn"),
    ('{"prompt": "a", "completion": "\\ud800"}', "completion: half a surrogate pair at letter 1"),
    ('{"prompt": "a", "completion": NaN}', "NaN is no JSON"),
    ('{"prompt": ' + "[" * 100_000, "nested too deep"),
    ('{"prompt": "a", "completion": ' + "9" * 5000 + "}", "Exceeds the limit"),
    ('{"text": "a"}', "the column 'prompt' is missing or null"),
]


@pytest.mark.parametrize(("line", "told"), BROKEN, ids=[told[:30] for _, told in BROKEN])
def test_a_broken_line_is_told_with_its_number(tmp_path, line, told):
    (tmp_path / "a.jsonl").write_text(lines(GOOD, GOOD, line, GOOD))
    message = refused(tmp_path)
    assert "1 of 4 rows that cannot be: a.jsonl:3: " in message
    assert told in message


def test_only_the_first_few_of_many_broken_lines_are_told(tmp_path):
    (tmp_path / "a.jsonl").write_text(lines(GOOD, *(f"{{{n}" for n in range(1000))))
    told = refused(tmp_path)
    assert "1000 of 1001 rows" in told
    assert "a.jsonl:6: " in told
    assert "a.jsonl:7: " not in told
    assert "and 995 more; mend or remove them" in told
    assert len(told.encode()) < 3000


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv"])
def test_text_in_another_encoding_is_told_with_its_line(tmp_path, name):
    rows_ = {"a.jsonl": lines(GOOD, "@"), "a.json": '[\n{"text": "@"}]', "a.csv": "text\n@\n"}[name]
    (tmp_path / name).write_bytes(rows_.replace("@", '{"text": "ü"}' if name == "a.jsonl" else "ü").encode("latin-1"))
    told = refused(tmp_path)
    assert f"{name}:2: not UTF-8: the byte 0xfc" in told
    assert "save the file as UTF-8" in told


def test_utf16_is_named(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(lines(GOOD).encode("utf-16"))
    assert "a.jsonl:1: this is UTF-16" in refused(tmp_path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[{"text": "a"}, {"text": "b"\n "c"}]', "a.json:2: not JSON: Expecting ',' delimiter"),
        ('[{"text": "a"}\n{"text": "b"}]', "a.json:2: not JSON: after an object"),
        ('[{"text": "a"},\n7]', "a.json:2: an object with the columns"),
        ('[{"text": "a"},\n', "a.json:2: an object with the columns"),
        ('[{"text": "a"', "a.json:1: not JSON"),
    ],
)
def test_a_list_of_objects_that_is_broken_is_told_with_its_line(tmp_path, text, told):
    (tmp_path / "a.json").write_text(text)
    assert told in refused(tmp_path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("prompt,completion\na,b\na,b,c\n", "a.csv:3: 3 fields where the header has 2"),
        ('prompt,completion\na,"b\nc\n', "a.csv:2: the file ends inside quotes"),
        ('prompt,completion\na,"b"c\nd,e\n', "a.csv:2: not CSV"),
        ("text,text\na,b\n", "a.csv:1: the header names a column twice"),
        ("prompt;completion\na;b\n", "a.csv:1: one column only, with `;`"),
        ("question,answer\na,b\n", "a.csv:2: no form that is known: needed are messages, or prompt and completion"),
    ],
)
def test_a_broken_csv_row_is_told_with_its_line(tmp_path, text, told):
    (tmp_path / "a.csv").write_text(text)
    assert told in refused(tmp_path)


def test_sharegpt_is_named(tmp_path):
    (tmp_path / "a.jsonl").write_text(lines({"conversations": [{"from": "human", "value": "a"}]}))
    assert "rename `conversations`, `from` and `value`" in refused(tmp_path)


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv"])
def test_a_row_without_an_end_is_never_held_in_memory(tmp_path, monkeypatch, name):
    """A file of one endless row, sparse on the disk: what is read at once stays below the bound of a row."""
    for module in ("rows", "json_rows", "csv_rows"):
        monkeypatch.setattr(f"inference_server.tune.{module}.MAX_ROW_BYTES", 1 << 20)
    path = tmp_path / name
    path.write_bytes({"a.jsonl": b"{", "a.json": b'[{"text": "', "a.csv": b'text\n"'}[name])
    os.truncate(path, 64 << 20)
    with path.open("ab") as file:
        file.write(b"\n" + lines(GOOD).encode())
    examination = examined(tmp_path)
    found = list(examination.examples())
    assert examination.faults == 1
    assert "16 MiB" in examination.first[0].problem
    assert found == ([Exchange(**GOOD)] if name == "a.jsonl" else [])


def test_rows_are_read_one_by_one(tmp_path):
    """The reader gives the first row before it has read the second: 10 GB need no 10 GB of memory."""
    read_fd, write_fd = os.pipe()
    with os.fdopen(read_fd, "rb") as reading, os.fdopen(write_fd, "wb", buffering=0) as writing:
        writing.write(b"first\n")
        found = rows.lines(reading)
        assert next(found) == b"first\n"
        writing.write(b"second\n")
        assert next(found) == b"second\n"


def test_equal_data_has_an_equal_digest(tmp_path):
    (tmp_path / "a.jsonl").write_text(lines(GOOD))
    first, again = examined(tmp_path), examined(tmp_path)
    first.run()
    again.run()
    assert first.digest == again.digest
    (tmp_path / "a.jsonl").write_text(lines(GOOD, GOOD))
    changed = examined(tmp_path)
    changed.run()
    assert changed.digest != first.digest
    assert changed.form is Form.PROMPT_COMPLETION


@pytest.mark.parametrize(
    "text",
    [
        f"[{json.dumps(GOOD)}]\n[{json.dumps(GOOD)}]\n",
        f"[{json.dumps(GOOD)}] x",
        f"[]\n{json.dumps(GOOD)}\n",
    ],
)
def test_rows_after_the_end_of_a_list_went_missing_without_a_word(tmp_path, text):
    (tmp_path / "train.json").write_text(text)
    assert "more stands after the end of the list" in refused(tmp_path)
