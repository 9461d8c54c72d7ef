"""Background processes: start, wait for a line, a port, the end; logs; kill."""

import re

import cellbox

with cellbox.get_sandbox("sdk-py-processes") as sandbox:
    server = sandbox.start_process("python3 -u -m http.server 8123", process_id="web", cwd="/workspace")
    found = server.wait_for_log(re.compile(r"serving HTTP .* port (\d+)", re.IGNORECASE), timeout=30)
    print(found.line, found.match[1])
    assert server.wait_for_port(8123, timeout=30).status == 200
    assert server.wait_for_port(8123, mode="tcp").status is None
    assert server.get_status() == "running"
    again = sandbox.get_process("web")
    assert again is not None and again.pid == server.pid
    assert sandbox.get_process("nothing") is None

    try:
        server.wait_for_log("never written", timeout=0.2)
        raise AssertionError("it was written")
    except cellbox.ProcessReadyTimeoutError as error:
        print(error)
    server.kill()
    end = server.wait_for_exit()
    print("ended by", end.signal or end.exit_code)
    try:
        server.wait_for_port(8123)
        raise AssertionError("it answers")
    except cellbox.ProcessExitedBeforeReadyError as ended:
        assert ended.exit_code == end.exit_code

    # logs: with a cursor only what is new, or as they come
    counter = sandbox.start_process("for i in 1 2 3; do echo $i; sleep 0.1; done; echo done >&2; exit 5")
    seen = list(counter.stream_logs())
    assert "".join(event.data for event in seen if event.type == "stdout") == "1\n2\n3\n"
    assert (seen[-1].type, seen[-1].exit_code) == ("exit", 5)
    logs = counter.get_logs()
    assert (logs.stdout, logs.stderr) == ("1\n2\n3\n", "done\n")
    assert counter.get_logs(cursor=logs.cursor).stdout == ""

    # restarted until it ends well, at most twice
    flaky = sandbox.start_process("echo try; exit 1", restart="on-failure", max_restarts=2)
    assert flaky.wait_for_exit(timeout=30).exit_code == 1
    assert flaky.refresh().info.restarts == 2

    # standard input as it comes: a text, bytes, an open file, an iterable of bytes
    reader = sandbox.start_process("while read -r word; do echo got $word; done", stdin=True)
    reader.write_stdin("one\n")
    reader.wait_for_log("got one", timeout=30)
    reader.write_stdin(word + b"\n" for word in (b"two", b"three"))
    reader.close_stdin()
    assert reader.wait_for_exit().exit_code == 0
    assert reader.get_logs().stdout == "got one\ngot two\ngot three\n"

    assert sorted(one.status for one in sandbox.list_processes()) == ["completed", "failed", "failed", "killed"]
    assert sandbox.cleanup_completed_processes() == 4
    sandbox.start_process("sleep 600")
    assert sandbox.kill_all_processes() == 1
    sandbox.destroy()
print("ok")
