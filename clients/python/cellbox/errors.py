"""Errors of the server, one class for each kind that a program reacts to.

The wire shape is ``{"error": {"code", "message", "details"}}`` with the fitting HTTP status (docs/api.md). Classes that
have a builtin twin are also of that class: ``except FileNotFoundError`` of either kind works.
"""

from __future__ import annotations

import builtins
import json
from typing import Any


class CellboxError(Exception):
    """Any refusal of the server.

    ``code`` is the stable name to branch on, ``status`` the HTTP status (0: there was none), ``details`` what the
    server says beyond the message.
    """

    code: str
    status: int
    details: dict[str, Any]
    message: str

    def __init__(self, message: str, code: str = "", status: int = 0, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.status = status
        self.details = details or {}

    def __str__(self) -> str:
        return self.message


class ConnectionError(CellboxError, builtins.ConnectionError):
    """The server could not be reached (``refused``: certainly nothing was sent), or the connection broke."""

    refused = False

    def __init__(self, message: str, refused: bool = False) -> None:
        super().__init__(message, "CONNECTION_FAILED", 0)
        self.refused = refused


class AuthenticationError(CellboxError):
    """401 and 403 of the server itself: no token, or not the right one."""


class InvalidRequestError(CellboxError, ValueError):
    """400: something in the request is wrong; ``details`` names the field or parameter."""


class NotFoundError(CellboxError):
    """404 of any kind."""


class SandboxNotFoundError(NotFoundError):
    """No sandbox of that name."""


class ContextNotFoundError(NotFoundError):
    """No code context of that id."""


class ExecutionNotFoundError(NotFoundError):
    """No execution of that id is kept."""


class ProcessNotFoundError(NotFoundError):
    """No process of that id."""


class SessionNotFoundError(NotFoundError):
    """No session of that id."""


class TerminalNotFoundError(NotFoundError):
    """No terminal of that id."""


class CommandNotFoundError(NotFoundError):
    """The program of an argument list is not there."""


class FileNotFoundError(NotFoundError, builtins.FileNotFoundError):
    """No such file or directory in the box."""


class PermissionDeniedError(CellboxError, builtins.PermissionError):
    """403 for a file or a program that the box user may not touch."""


class IsDirectoryError(InvalidRequestError, builtins.IsADirectoryError):
    """A file was wanted."""


class NotDirectoryError(InvalidRequestError, builtins.NotADirectoryError):
    """A directory was wanted."""


class ConflictError(CellboxError):
    """409: it exists already, or is in use."""


class FileExistsError(ConflictError, builtins.FileExistsError):
    """There is such a file already."""


class TooLargeError(CellboxError):
    """413: a body, a command or a file over a limit."""


class TimeoutError(CellboxError, builtins.TimeoutError):
    """408: a time limit passed."""


class ProcessReadyTimeoutError(TimeoutError):
    """wait_for_log, wait_for_port: the time was over before."""


class ProcessExitedBeforeReadyError(ConflictError):
    """wait_for_log, wait_for_port: the process ended first; ``exit_code`` says how."""

    @property
    def exit_code(self) -> int:
        """128 + signal if one ended it."""
        return int(self.details["exitCode"])


class LimitError(CellboxError):
    """429: too many of something; the call was not begun and may be tried again."""


class UnavailableError(CellboxError):
    """502, 503, 507: the server or the box cannot do it now."""


class GitError(CellboxError):
    """git could not do it.

    Codes GIT_AUTH_FAILED, GIT_REPOSITORY_NOT_FOUND, GIT_BRANCH_NOT_FOUND, GIT_NETWORK_ERROR, GIT_CLONE_FAILED.
    """


class BucketError(CellboxError):
    """A bucket could not be mounted.

    Codes BUCKET_NOT_FOUND, BUCKET_ACCESS_DENIED, BUCKET_MOUNT_FAILED, BUCKET_UNMOUNT_FAILED.
    """


class SandboxGoneError(UnavailableError):
    """The box ended under a call."""


_BY_CODE: dict[str, type[CellboxError]] = {
    "UNAUTHORIZED": AuthenticationError,
    "FORBIDDEN": AuthenticationError,
    "CROSS_SITE": AuthenticationError,
    "SANDBOX_NOT_FOUND": SandboxNotFoundError,
    "CONTEXT_NOT_FOUND": ContextNotFoundError,
    "EXECUTION_NOT_FOUND": ExecutionNotFoundError,
    "PROCESS_NOT_FOUND": ProcessNotFoundError,
    "SESSION_NOT_FOUND": SessionNotFoundError,
    "TERMINAL_NOT_FOUND": TerminalNotFoundError,
    "COMMAND_NOT_FOUND": CommandNotFoundError,
    "FILE_NOT_FOUND": FileNotFoundError,
    "PERMISSION_DENIED": PermissionDeniedError,
    "READ_ONLY": PermissionDeniedError,
    "IS_DIRECTORY": IsDirectoryError,
    "NOT_DIRECTORY": NotDirectoryError,
    "FILE_EXISTS": FileExistsError,
    "PROCESS_READY_TIMEOUT": ProcessReadyTimeoutError,
    "PROCESS_EXITED_BEFORE_READY": ProcessExitedBeforeReadyError,
    "GIT_AUTH_FAILED": GitError,
    "GIT_REPOSITORY_NOT_FOUND": GitError,
    "GIT_BRANCH_NOT_FOUND": GitError,
    "GIT_NETWORK_ERROR": GitError,
    "GIT_CLONE_FAILED": GitError,
    "BUCKET_NOT_FOUND": BucketError,
    "BUCKET_ACCESS_DENIED": BucketError,
    "BUCKET_MOUNT_FAILED": BucketError,
    "BUCKET_UNMOUNT_FAILED": BucketError,
    "BOX_GONE": SandboxGoneError,
    "SANDBOX_STOPPED": SandboxGoneError,
}

_BY_STATUS: dict[int, type[CellboxError]] = {
    400: InvalidRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    408: TimeoutError,
    409: ConflictError,
    413: TooLargeError,
    416: InvalidRequestError,
    429: LimitError,
    502: UnavailableError,
    503: UnavailableError,
    504: UnavailableError,
    507: UnavailableError,
}


def error_for(code: str, status: int, message: str, details: dict[str, Any] | None = None) -> CellboxError:
    """The error of a code and a status, in its class."""
    kind = _BY_CODE.get(code) or _BY_STATUS.get(status) or CellboxError
    return kind(message, code, status, details)


def error_from_body(status: int, body: bytes) -> CellboxError:
    """The error of an answer's body, whatever that body is (a proxy in between may have written it)."""
    try:
        error = json.loads(body)["error"]
        return error_for(error["code"], status, error.get("message", error["code"]), error.get("details"))
    except (ValueError, KeyError, TypeError, AttributeError):
        text = body.decode(errors="replace").strip()[:200]
        return error_for(f"HTTP_{status}", status, f"HTTP status {status}" + (f": {text}" if text else ""))
