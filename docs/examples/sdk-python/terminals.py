"""Terminals: bytes both ways, size, several viewers, coming back."""

import cellbox


def until(viewer: cellbox.TerminalConnection, text: bytes) -> bytes:
    """What is shown, up to the text."""
    shown = b""
    while text not in shown:
        piece = viewer.read()
        assert piece, shown
        shown += piece
    return shown


with cellbox.get_sandbox("sdk-py-terminals") as sandbox:
    terminal = sandbox.terminal("main", cols=100, rows=30)
    viewer = terminal.connect()
    viewer.write("stty size; echo set-$((1 + 1))\n")
    assert b"30 100" in until(viewer, b"set-2")
    viewer.resize(132, 50)
    viewer.write("stty size\n")
    until(viewer, b"50 132")

    # somebody else looks, and sees what was shown before
    with terminal.connect(read_only=True) as second:
        until(second, b"set-2")
        assert terminal.get_info().viewers == 2
        second.write("no\n")
        try:
            while second.read():
                pass
        except cellbox.CellboxError as error:
            print(error)

    # the same terminal by its id; only what is new, thanks to the cursor
    cursor = viewer.cursor
    viewer.close()
    with sandbox.terminal("main").connect(cursor=cursor) as again:
        again.write("sleep 600\n")
        assert b"set-2" not in until(again, b"sleep 600")
        while not sandbox.exec(["pgrep", "-x", "sleep"]).success:
            pass
        again.send_signal("SIGINT")
        again.write("exit 7\n")
        for piece in again:
            print(len(piece), "bytes")
        assert again.exit == cellbox.TerminalExit(7)

    terminal.delete()
    assert sandbox.list_terminals() == [] and sandbox.get_terminal("main") is None
    sandbox.destroy()
print("ok")
