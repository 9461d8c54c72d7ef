"""Commands: result, output as it happens, standard input, time limit, cancelling."""

import cellbox

with cellbox.get_sandbox("sdk-py-exec") as sandbox:  # CELLBOX_URL and CELLBOX_TOKEN say where
    result = sandbox.exec("echo out; echo err >&2; exit 3")
    assert (result.success, result.exit_code, result.stdout, result.stderr) == (False, 3, "out\n", "err\n")

    # a list is a program with its arguments: nothing is quoted or expanded
    assert sandbox.exec(["printf", "%s|", "a b", "$HOME"]).stdout == "a b|$HOME|"

    env = {"WHO": "me", "LEFT_OUT": None}
    assert sandbox.exec("wc -c; echo $WHO; pwd", stdin=b"\0\xff\n", env=env, cwd="/tmp").stdout == "3\nme\n/tmp\n"

    # input that comes, however long: an open file or an iterable of bytes
    numbers = (b"%d\n" % i for i in range(3))
    assert sandbox.exec("while read n; do echo $((n * 2)); done", stdin=numbers).stdout == "0\n2\n4\n"

    # bytes that are no text stay what they are
    assert sandbox.exec("printf '\\377\\000'").stdout_bytes == b"\xff\0"

    pieces: list[tuple[str, str]] = []
    sandbox.exec("echo one; sleep 0.2; echo two", on_output=lambda stream, data: pieces.append((stream, data)))
    assert pieces == [("stdout", "one\n"), ("stdout", "two\n")], pieces

    for event in sandbox.exec_stream("echo streamed; exit 4"):
        if event.type == "stdout":
            print("it says", event.data.strip())
        elif event.type == "complete":
            assert event.exit_code == 4

    # the limit ends everything that the command started
    slow = sandbox.exec("sleep 600 & sleep 600", timeout=0.3)
    assert (slow.timed_out, slow.exit_code) == (True, 124)

    # and so does an exception, or a generator that is closed
    running = sandbox.exec_stream("echo up; sleep 601")
    assert [next(running).type, next(running).data] == ["start", "up\n"]
    running.close()
    while sandbox.exec(["pgrep", "-x", "-f", "sleep 601"]).success:
        pass

    try:
        sandbox.exec(["no-such-program"])
        raise AssertionError("it is there")
    except cellbox.CommandNotFoundError as error:
        assert (error.status, error.code) == (404, "COMMAND_NOT_FOUND")

    sandbox.set_env_vars({"STAGE": "test"})
    assert sandbox.exec("echo $STAGE").stdout == "test\n"
    sandbox.destroy()
print("ok")
