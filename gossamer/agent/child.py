"""The training child, ``python -m gossamer.agent.child``: request on stdin, answers in frames, end.

All arithmetic of a round happens here, so that the agent itself never loads numpy and an out-of-memory kill
takes the child. What a request asks for is computed in :mod:`gossamer.agent.work`; this file is the process
around it: it dies with its parent, keeps the user's prints out of the answer, and names what went wrong.

Requests are maps with ``op``: "fit", "initial" or "evaluate" and the fields of that function of ``work``.
Answers are maps with ``type``: "model", "bad-model", "update", "initial", "figures" or "error".
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

PR_SET_PDEATHSIG = 1
#: The kernel's out-of-memory killer takes the process with the highest score first: us, not the agent.
OOM_SCORE = "900"
#: Environment variable with the parent's process id: who starts us may be dead before we ask to be told.
PARENT_VARIABLE = "GOSSAMER_CHILD_OF"
#: How libraries that do not raise MemoryError say that there is none left: torch, the loader of shared objects, C++
#: and C; the last two only as they end the process.
OUT_OF_MEMORY = (
    "can't allocate memory", "failed to map segment", "bad_alloc", "Cannot allocate memory", "Memory allocation still",
    "MemoryError",
)  # fmt: skip
#: Of what an exception says: a line that a log can show.
DETAIL_CHARACTERS = 400
PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep  # noqa: PTH100, PTH120 - no pathlib yet


def main() -> None:
    """Serve one request. Exit code 0 when an answer was written, even if it says "error"."""
    _die_with_parent()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the user's code prints goes to the log, not into the answer

    from gossamer.agent.frames import frame, take_frame

    request = take_frame(bytearray(sys.stdin.buffer.read()))
    _limit(request["memory_bytes"], request["nice"])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for answer in _answers(request):
        answers.write(frame(answer))
        answers.flush()
    # Nothing to clean up but memory: skip the interpreter's slow farewell.
    sys.stderr.flush()
    os._exit(0)


def _answers(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    from gossamer.errors import GossamerError

    try:
        from gossamer.agent import work

        yield from work.serve(request)
    except GossamerError as error:
        yield {"type": "error", "kind": type(error).__name__, "detail": " ".join(str(error).split())}
    except Exception as error:
        if isinstance(error, MemoryError) or any(words in str(error) for words in OUT_OF_MEMORY):
            yield {"type": "error", "kind": "MemoryError", "detail": "out of memory; see fit_memory_bytes"}
            return
        text = " ".join(f"{type(error).__name__}: {error}".split())[:DETAIL_CHARACTERS]
        yield {"type": "error", "kind": "Exception", "detail": f"{text} ({_place(error)})"}


def _place(error: Exception) -> str:
    """File and line where it happened: the innermost of the user's own, if there is one."""
    import sysconfig
    import traceback

    frames = traceback.extract_tb(error.__traceback__)
    theirs = (*map(sysconfig.get_path, ("stdlib", "purelib", "platlib")), PACKAGE, "<")
    own = [frame for frame in frames if not frame.filename.startswith(theirs)]
    where = (own or frames)[-1]
    return f"{where.filename}:{where.lineno}"


def _die_with_parent() -> None:
    import ctypes

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    parent = os.environ.get(PARENT_VARIABLE)
    if parent is not None and os.getppid() != int(parent):
        os._exit(1)


def _limit(memory_bytes: int, nice: int) -> None:
    if memory_bytes:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    os.nice(nice)
    try:
        with open("/proc/self/oom_score_adj", "w") as file:  # noqa: PTH123 - pathlib is not loaded yet
            file.write(OOM_SCORE)
    except OSError:
        pass  # no /proc in this container: the default score is as good


if __name__ == "__main__":
    main()
