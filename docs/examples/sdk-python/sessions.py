"""Sessions: persistent shells with their own directory, variables, functions and jobs."""

import cellbox

with cellbox.get_sandbox("sdk-py-sessions") as sandbox:
    session = sandbox.create_session("build", env={"MODE": "debug"})
    session.exec('cd /tmp; greet() { echo "hello $1 in $MODE"; }')
    assert session.exec("pwd; greet you").stdout == "/tmp\nhello you in debug\n"

    # what is stuck is cancelled, and the shell lives on
    assert session.exec("sleep 600", timeout=0.3).timed_out
    assert session.exec("greet again").stdout == "hello again in debug\n"

    left = session.exec("exit 3")
    assert (left.exit_code, left.session_ended) == (3, True)
    assert session.exec("echo fresh").session_restarted
    print([event.data for event in session.exec_stream("echo streamed") if event.type == "stdout"])

    # another session shares the files, not the shell
    other = sandbox.create_session()
    assert other.exec("pwd").stdout == "/workspace\n"
    assert sorted(one.id for one in sandbox.list_sessions()) == sorted(["build", other.id])
    assert other.info().status == "running"

    session.delete()
    try:
        sandbox.get_session("build").exec("true")
        raise AssertionError("it is there")
    except cellbox.SessionNotFoundError:
        pass
    sandbox.destroy()
print("ok")
