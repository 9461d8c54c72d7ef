"""What a box does to its own init: it may lose by it, but init goes on."""

from __future__ import annotations

import threading
from typing import Any

from box_calls import eventually, execute, post

# Stops every process of the user that is not this one, also those that are just being made.
STOPPER = """
#include <dirent.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>
int main(void)
{
    for (long rounds = 0; rounds < 400000; rounds++)
        for (int pid = getpid() + 1; pid < getpid() + 40; pid++)
            kill(pid, SIGSTOP);
    return 0;
}
"""


def test_a_stopped_child_holds_init_up_for_a_while_only(server: Any, box: str) -> None:
    server.run(box, f"kept = 3\nopen('/workspace/stopper.c', 'w').write({STOPPER!r})")
    build = execute(server, box, "gcc -O2 -w -o /workspace/stopper /workspace/stopper.c")
    assert build["exitCode"] == 0, build
    post(server, box, "processes", 201, command=["/workspace/stopper"], processId="stopper")
    answers: list[int] = []

    def ask() -> None:
        r = server.call(
            "POST", f"/v1/sandboxes/{box}/exec", json={"command": "true", "timeout": 2000, "grace": 0}, timeout=120
        )
        answers.append(r.status_code)

    askers = [threading.Thread(target=ask) for _ in range(4)]
    for t in askers:
        t.start()
    for t in askers:
        t.join(120)
    assert len(answers) == 4
    server.call("DELETE", f"/v1/sandboxes/{box}/processes/stopper")
    eventually(lambda: execute(server, box, "true", timeout=10_000)["exitCode"] == 0, 60)
    done = server.run(box, "print(kept)")
    assert done["logs"]["stdout"] == ["3\n"], done
