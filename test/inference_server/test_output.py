from __future__ import annotations

from inference_server.serve import output
from inference_server.serve.output import Complaint, Complaints


def told(*chunks: str | bytes) -> list[Complaint]:
    complaints = Complaints()
    for chunk in chunks:
        complaints.feed(chunk.encode() if isinstance(chunk, str) else chunk)
    complaints.end()
    return list(complaints.kept)


def test_the_last_line_of_a_traceback_is_kept_with_its_process():
    """With vLLM's prefix or without, in colours or plain."""
    lines = (
        "(EngineCore pid=104) ERROR 05-01 14:39:06 [core.py:1131] torch.OutOfMemoryError: CUDA out of memory.\n"
        "\x1b[31m(Worker_TP0 pid=7)\x1b[0m ValueError: no\n"
        "OSError: [Errno 98] Address already in use\n"
    )
    assert told(lines) == [
        Complaint(process="EngineCore", text="torch.OutOfMemoryError: CUDA out of memory."),
        Complaint(process="Worker_TP0", text="ValueError: no"),
        Complaint(process="", text="OSError: [Errno 98] Address already in use"),
    ]


def test_a_message_of_several_lines_stays_together():
    """That of pydantic tells what is wrong in the second line."""
    lines = "pydantic.ValidationError: 1 validation error for ModelConfig\n  Value error, Unknown dtype: 'x'\n\nmore\n"
    assert [one.text for one in told(lines)] == [
        "pydantic.ValidationError: 1 validation error for ModelConfig Value error, Unknown dtype: 'x'"
    ]


def test_what_users_write_is_no_complaint():
    """A logged prompt may hold any text: only errors count, not what is logged as information or warning."""
    assert (
        told("(APIServer pid=1) INFO 05-01 14:39:06 [logger.py:1] CUDA out of memory. Tried to ValueError: x\n") == []
    )
    assert told("(APIServer pid=1) WARNING 05-01 14:39:06 [a.py:1] ValueError: x\n") == []
    assert told('INFO:     127.0.0.1:5 - "POST /ValueError: HTTP/1.1" 404 Not Found\n') == []


def test_native_warnings_count():
    """NCCL tells of a full /dev/shm as a warning, behind a prefix of its own."""
    line = (
        "pod:3663:4044 [0] misc/shmutils.cc:129 NCCL WARN Error while creating shared memory segment /dev/shm/nccl-E\n"
    )
    assert len(told(line)) == 1


def test_lines_arrive_in_pieces():
    """A pipe cuts where it likes, in the middle of a letter too; the last line may lack its end."""
    raw = "ValueError: schön\nKeyError: 'x'".encode()
    for cut in range(len(raw)):
        assert [one.text for one in told(raw[:cut], raw[cut:])] == ["ValueError: schön", "KeyError: 'x'"]


def test_it_stays_small_whatever_comes():
    """Endless lines and endless errors: what is kept is bounded, and the newest."""
    complaints = Complaints()
    for _ in range(100):
        complaints.feed(b"ValueError: " + b"x" * 100_000)
    complaints.feed(b"\n")
    assert len(complaints.kept) == 1
    assert len(complaints._rest) <= output.MAX_LINE_BYTES
    for number in range(10_000):
        complaints.feed(b"ValueError: %d\n" % number)
    assert len(complaints.kept) == output.MAX_COMPLAINTS
    assert complaints.kept[-1].text == "ValueError: 9999"
    assert all(len(one.text) <= output.MAX_TEXT for one in complaints.kept)


def test_any_bytes_are_taken():
    """Binary rubbish on stderr is no reason to fail."""
    assert told(bytes(range(256)) * 100) == []
