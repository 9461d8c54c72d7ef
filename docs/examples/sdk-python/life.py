"""A sandbox's life: made on demand, options, state, the list, the end."""

from concurrent.futures import ThreadPoolExecutor

import cellbox

options = {"env": {"A": "1"}, "labels": {"team": "red"}, "limits": {"pids": 200}}
with cellbox.get_sandbox("sdk-py-life", **options) as sandbox:
    try:
        sandbox.info()
        raise AssertionError("it is there")
    except cellbox.SandboxNotFoundError:
        pass  # nothing was sent yet that needs it

    with ThreadPoolExecutor() as pool:  # makes one sandbox
        results = list(pool.map(lambda i: sandbox.exec(f"echo $A {i}").stdout, range(3)))
    assert results == ["1 0\n", "1 1\n", "1 2\n"]

    info = sandbox.info()
    assert (info.state, info.labels, info.limits["pids"]) == ("running", {"team": "red"}, 200)
    assert info.created_at <= info.last_used_at
    sandbox.set_labels({"team": "blue"})
    assert any(one.name == "sdk-py-life" and one.labels["team"] == "blue" for one in cellbox.list_sandboxes())

    sandbox.set_env_vars({"B": "2", "A": None})
    assert sandbox.exec("echo [$A] $B").stdout == "[] 2\n"

    # asleep it costs nothing, and the next call wakes it
    sandbox.set_limits({"pids": 100})
    sandbox.exec("echo kept > note")
    sandbox.set_sleep_after(0.3)
    while sandbox.info().state != "stopped":
        pass
    assert (sandbox.usage().memory_bytes, sandbox.info().limits["pids"], sandbox.info().sleep_after) == (0, 100, 0.3)
    assert sandbox.read_file("note").content == "kept\n"
    sandbox.set_keep_alive(True)
    assert sandbox.info().keep_alive

    sandbox.destroy()
    sandbox.destroy()  # one that is gone is no error
    assert sandbox.exec("ls").stdout == ""  # a new one, empty
    sandbox.destroy()

wrongs = [
    cellbox.Sandbox("No_Name"),
    cellbox.Sandbox("x", token="wrong"),
    cellbox.Sandbox("x", url="http://127.0.0.1:9", retry=cellbox.Retry(retries=0)),
]
kinds: list[type[cellbox.CellboxError]] = []
for wrong in wrongs:
    with wrong:
        try:
            wrong.exec("true")
        except cellbox.CellboxError as error:
            kinds.append(type(error))
assert kinds == [cellbox.InvalidRequestError, cellbox.AuthenticationError, cellbox.ConnectionError]
print("ok")
