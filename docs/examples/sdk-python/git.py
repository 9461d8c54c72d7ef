"""Repositories: cloned with progress, a branch of one, and what goes wrong."""

import cellbox

SOURCE = """
git init -q -b main /tmp/source && cd /tmp/source && git config user.name me && git config user.email me@example.com
echo hello > README && git add . && git commit -qm first
git checkout -qb next && echo more >> README && git commit -qam second
"""

with cellbox.get_sandbox("sdk-python-git") as sandbox:
    sandbox.exec(SOURCE)  # yours is at https://..., with credentials={"token": ...} for a private one
    phases: set[str] = set()
    clone = sandbox.git_checkout(
        "file:///tmp/source", branch="next", depth=1, target_dir="app", on_progress=lambda p: phases.add(p.phase)
    )
    assert (clone.branch, clone.target_dir) == ("next", "/workspace/app")
    assert "Receiving objects" in phases
    assert sandbox.read_file("app/README").content == "hello\nmore\n"
    try:
        sandbox.git_checkout("file:///tmp/source", branch="missing")
    except cellbox.GitError as error:
        assert (error.code, error.status) == ("GIT_BRANCH_NOT_FOUND", 404)
    else:
        raise AssertionError("there is no such branch")
    sandbox.destroy()
print("ok")
