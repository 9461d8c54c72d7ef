"""What the hostile programs share. They run inside a box: exact outcomes, a count of checks, one last line."""

import ctypes
import errno
import json
import os
import sys

with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "facts.json")) as _f:
    FACTS = json.load(_f)  # what the host told us to look for
libc = ctypes.CDLL(None, use_errno=True)
_problems = []
_checks = 0


def check(what, holds, got=""):
    """One control. `holds` False means that it failed."""
    global _checks
    _checks += 1
    if not holds:
        _problems.append(f"{what} (got {got!r})" if got != "" else what)


def name(number):
    return errno.errorcode.get(number, str(number))


def refused(what, function, *want):
    """function() must raise OSError with one of the errnos `want`."""
    try:
        got = function()
    except OSError as e:
        check(what, e.errno in want, name(e.errno))
    else:
        check(what, False, f"success: {got!r}"[:200])


def works(what, function):
    """A positive control: the box can do what a computer can, so a refusal elsewhere means something."""
    try:
        got = function()
    except OSError as e:
        check(what + " must work", False, name(e.errno))
        return None
    check(what + " must work", got is not False, got)
    return got


def call(function, *args):
    """A libc function that returns -1 on failure: its value, or OSError."""
    ctypes.set_errno(0)
    r = function(*args)
    if r == -1:
        raise OSError(ctypes.get_errno(), function.__name__)
    return r


def read(path, size=65536):
    with open(path, "rb") as f:
        return f.read(size)


def write(path, data):
    fd = os.open(path, os.O_WRONLY)
    try:
        return os.write(fd, data)
    finally:
        os.close(fd)


def in_child(function):
    """Runs function in a forked child; its wait status."""
    pid = os.fork()
    if pid == 0:
        try:
            function()
            os._exit(0)
        except BaseException:
            os._exit(99)
    return os.waitpid(pid, 0)[1]


def done():
    if not _checks:
        print("ESCAPED: nothing was checked", flush=True)
    elif _problems:
        print("ESCAPED: " + "; ".join(_problems).replace("\n", " "), flush=True)
    else:
        print(f"{_checks} checks\nCONTAINED", flush=True)
