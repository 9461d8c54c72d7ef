"""Watch: changes of files as they happen."""

import cellbox

with cellbox.get_sandbox("sdk-py-watch") as sandbox:
    seen: list[cellbox.WatchEvent] = []
    with sandbox.watch("/workspace", exclude=["*.tmp"]) as watcher:  # established now: nothing later is missed
        sandbox.exec("echo 1 > a; echo 2 > x.tmp; mv a b; rm b; touch end")
        for event in watcher:
            seen.append(event)
            if event.path == "/workspace/end":
                break
    print("\n".join(f"{event.type} {event.path}" for event in seen))
    renamed = next(event for event in seen if event.type == "rename")
    assert (renamed.old_path, renamed.path) == ("/workspace/a", "/workspace/b")
    assert not any((event.path or "").endswith(".tmp") for event in seen)

    # a later watch can go on where this one was
    sandbox.exec("touch meanwhile")
    with sandbox.watch("/workspace", since=watcher.cursor) as later:
        for event in later:
            if event.path == "/workspace/meanwhile":
                break
    sandbox.destroy()
print("ok")
