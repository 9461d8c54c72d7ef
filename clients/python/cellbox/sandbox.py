"""A sandbox, blocking. AsyncSandbox (aio.py) has the same methods."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, TypeVar

import httpx

from . import calls
from .calls import Box, Operation
from .collect import ExecCollector, GitCollector, NotebookCollector, RunCollector, exec_event
from .content import Content, pieces, whole
from .events import CommandSource, Event, NotebookSource, RunSource, run_body
from .http import Driver, Settings
from .process import MAX_OUTPUT, OnOutput, Process, Session
from .retry import Retry
from .terminal import Terminal
from .types import (
    BucketInfo,
    CellDone,
    CodeContext,
    Command,
    Completion,
    EgressLog,
    ExecEvent,
    ExecResult,
    Execution,
    ExecutionError,
    ExecutionInfo,
    ExposedPort,
    FileContent,
    FileInfo,
    FileList,
    GitCheckout,
    GitProgress,
    InputRequest,
    Inspection,
    NotebookResult,
    OutputMessage,
    Result,
    SandboxInfo,
    SearchResult,
    SessionInfo,
    Usage,
)
from .watch import Watcher, watch_source
from .wire import body, idle_time, milliseconds

T = TypeVar("T")


class Sandbox:
    """A sandbox of a name.

    Making this object sends nothing: the sandbox is made by the first call that needs it, and concurrent
    first calls make one. ``image``, ``env``, ``labels``, ``limits`` (memory and disk in bytes, cpu in CPUs, pids)
    are put before its first use; those of a sandbox that exists must agree with it. So are ``instance_type``
    (CPUs, memory and disk by a name, lite to standard-4), ``sleep_after`` (it sleeps when nothing goes on for so
    many seconds, or "10m"; 0 is never; its disk stays) and ``keep_alive`` (never). Times are in seconds.
    Methods raise CellboxError for what the server refuses. Use it as a context manager, or close() it, to
    end its connections; the sandbox stays (see destroy).

    ``url`` and ``token`` default to CELLBOX_URL (else http://127.0.0.1:8888) and CELLBOX_TOKEN.
    """

    def __init__(
        self,
        name: str,
        *,
        url: str | None = None,
        token: str | None = None,
        image: str | None = None,
        env: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        limits: Mapping[str, float] | None = None,
        instance_type: str | None = None,
        sleep_after: float | str | None = None,
        keep_alive: bool | None = None,
        retry: Retry | None = None,
        http: httpx.Client | None = None,
    ) -> None:
        self.name = name
        self._driver = Driver(Settings(url, token, retry), http)
        life = {"sleep_after": idle_time(sleep_after), "keep_alive": keep_alive}
        how = {"env": env, "labels": labels, "limits": limits, "instance_type": instance_type}
        self._box = Box(name, body(image=image, **how, **life))

    def _run(self, operation: Operation[T]) -> T:
        return self._driver.run(self._box.need(operation))

    def close(self) -> None:
        """Ends the connections; the sandbox stays."""
        self._driver.close()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} at {self._driver.settings.url}>"

    # ---- life ----

    def start(self) -> SandboxInfo:
        """Makes it if there is none, starts it if it is stopped; returns once it runs."""
        return self._driver.run(self._box.make())

    def info(self) -> SandboxInfo:
        """Its state; does not make it. Raises SandboxNotFoundError."""
        return self._driver.run(calls.info(self._box))

    def set_env_vars(self, variables: Mapping[str, str | None]) -> None:
        """Sets variables for everything that starts from now on, on top of those it has; None removes one.

        Reads and writes: two at once may undo each other.
        """
        self._run(calls.set_env_vars(self._box, variables))

    def set_labels(self, labels: Mapping[str, str]) -> None:
        """Replaces its labels."""
        self._run(calls.patch(self._box, labels=labels))

    def set_sleep_after(self, sleep_after: float | str) -> None:
        """When it sleeps: seconds, or "30s", "10m", "1h"; 0 is never."""
        self._run(calls.patch(self._box, sleepAfter=idle_time(sleep_after)))

    def set_keep_alive(self, keep_alive: bool) -> None:
        """Whether it stays awake whatever sleep_after says."""
        self._run(calls.patch(self._box, keepAlive=keep_alive))

    def set_limits(self, limits: Mapping[str, float] | str) -> None:
        """Changes its limits, also while it runs; by a name such as "standard-1", or one by one."""
        by_name = isinstance(limits, str)
        self._run(calls.patch(self._box, **{"instanceType" if by_name else "limits": limits}))

    def usage(self) -> Usage:
        """What it uses; does not wake it. Raises SandboxNotFoundError."""
        return self._driver.run(calls.usage(self._box))

    def destroy(self) -> None:
        """Ends everything in it and removes its disk. One that is not there is no error."""
        self._driver.run(calls.destroy(self._box))

    # ---- commands and sessions ----

    def exec(
        self,
        command: Command,
        *,
        cwd: str | None = None,
        env: Mapping[str, str | None] | None = None,
        stdin: Content | None = None,
        timeout: float | None = None,
        grace: float | None = None,
        max_output: int = MAX_OUTPUT,
        on_output: OnOutput | None = None,
    ) -> ExecResult:
        """Runs a command to its end: a string by the shell, a list as a program with its arguments.

        A failing command is no error of this call: look at ``success`` and ``exit_code``. After
        ``timeout`` everything that it started gets TERM, and KILL ``grace`` (default 5) later. ``stdin`` is text,
        bytes, or an open file or iterable of bytes that is sent as it comes.
        ``on_output(stream, data)`` is called as it happens. An exception in here, also KeyboardInterrupt,
        ends the command. Raises CommandNotFoundError, PermissionDeniedError (the program of a list),
        LimitError.
        """
        members = calls.command_body(command, cwd=cwd, env=env, stdin=stdin, timeout=timeout, grace=grace)
        return self._driver.collect(
            CommandSource(self._box, "/exec", members, stdin), ExecCollector(max_output, on_output)
        )

    def exec_stream(
        self,
        command: Command,
        *,
        cwd: str | None = None,
        env: Mapping[str, str | None] | None = None,
        stdin: Content | None = None,
        timeout: float | None = None,
        grace: float | None = None,
    ) -> Generator[ExecEvent, None, None]:
        """The same as events: start, stdout, stderr, complete.

        Closing the generator ends the command.
        """
        members = calls.command_body(command, cwd=cwd, env=env, stdin=stdin, timeout=timeout, grace=grace)
        for event in self._driver.events(CommandSource(self._box, "/exec", members, stdin)):
            yield exec_event(event)

    def create_session(
        self, id: str | None = None, *, cwd: str | None = None, env: Mapping[str, str] | None = None
    ) -> Session:
        """A persistent shell. Raises ConflictError if one of that id runs."""
        made = self._run(calls.create_session(self._box, id=id, cwd=cwd, env=env))
        return Session(self._driver, self._box, made.id)

    def get_session(self, id: str) -> Session:
        """The session of an id; sends nothing."""
        return Session(self._driver, self._box, id)

    def list_sessions(self) -> list[SessionInfo]:
        """All sessions."""
        return self._run(calls.list_sessions(self._box))

    def delete_session(self, id: str) -> None:
        """Ends a session. Raises SessionNotFoundError."""
        self._run(calls.remove(self._box, "sessions", id))

    def git_checkout(
        self,
        url: str,
        *,
        branch: str | None = None,
        target_dir: str | None = None,
        cwd: str | None = None,
        depth: int | None = None,
        timeout: float | None = None,
        credentials: Mapping[str, str] | None = None,
        on_progress: Callable[[GitProgress], None] | None = None,
    ) -> GitCheckout:
        """Clones a repository into a directory of the sandbox, by default one of the repository's name.

        ``url``: https, http, git, ssh, file:///path, /path in the sandbox; ``branch``: also a tag; ``timeout``:
        default 600. ``credentials``: ``{"username", "password"}`` or ``{"token"}`` for that host alone, or in the
        address; they are in no argument, environment, file or log. Raises GitError, TimeoutError,
        FileExistsError (the directory holds something).
        """
        where = {"branch": branch, "target_dir": target_dir, "cwd": cwd, "depth": depth}
        login = None if credentials is None else dict(credentials)
        members = body(url=url, **where, timeout=milliseconds(timeout), credentials=login)
        return self._driver.collect(CommandSource(self._box, "/git:checkout", members), GitCollector(on_progress))

    # ---- buckets ----

    def mount_bucket(
        self,
        bucket: str,
        path: str,
        *,
        endpoint: str,
        region: str | None = None,
        credentials: Mapping[str, str] | None = None,
        secret: str | None = None,
        prefix: str | None = None,
        read_only: bool | None = None,
        s3fs_options: Sequence[str] | None = None,
    ) -> BucketInfo:
        """Makes a bucket of an object store a directory (``path``: absolute, made if it is missing).

        ``credentials``: ``access_key_id``, ``secret_access_key`` and perhaps ``session_token``; or ``secret``: the
        name of one of put_secret. Requests are signed outside of the sandbox, which never sees the keys. It comes
        back by itself whenever the sandbox wakes. ``prefix``: only what is below it. Raises BucketError,
        ConflictError.
        """
        keys = None if credentials is None else body(**credentials)
        options = None if s3fs_options is None else list(s3fs_options)
        where = {"bucket": bucket, "path": path, "endpoint": endpoint, "region": region, "prefix": prefix}
        how = {"credentials": keys, "secret": secret, "read_only": read_only, "s3fs_options": options}
        return self._run(calls.mount_bucket(self._box, **where, **how))

    def unmount_bucket(self, path: str, *, force: bool = False) -> None:
        """By its path or its id. Raises ConflictError while a program uses it, unless ``force``."""
        self._run(calls.unmount_bucket(self._box, path, force))

    def list_buckets(self) -> list[BucketInfo]:
        """Buckets that are directories of the sandbox."""
        return self._run(calls.list_buckets(self._box))

    # ---- processes ----

    def start_process(
        self,
        command: Command,
        *,
        process_id: str | None = None,
        cwd: str | None = None,
        env: Mapping[str, str | None] | None = None,
        timeout: float | None = None,
        grace: float | None = None,
        restart: str | None = None,
        max_restarts: int | None = None,
        log_limit: int | None = None,
        labels: Mapping[str, str] | None = None,
        keep_awake: bool | None = None,
        stdin: bool | None = None,
    ) -> Process:
        """Starts a process that outlives this request.

        ``restart``: never (default), on-failure, always; ``max_restarts`` 0 is no bound; ``log_limit``:
        bytes of output that are kept (default 1 MiB); ``keep_awake``: the sandbox does not sleep while it
        runs; ``stdin``: it reads what ``write_stdin`` sends. Raises CommandNotFoundError, ConflictError,
        LimitError.
        """
        members = calls.command_body(command, cwd=cwd, env=env, timeout=timeout, grace=grace)
        more = {"process_id": process_id, "restart": restart, "max_restarts": max_restarts, "keep_awake": keep_awake}
        keeps = {"log_limit": log_limit, "labels": labels, "stdin": stdin}
        made = self._run(calls.start_process(self._box, members, **more, **keeps))
        return Process(self._driver, self._box, made)

    def list_processes(self) -> list[Process]:
        """All background processes, also those that have ended."""
        return [Process(self._driver, self._box, one) for one in self._run(calls.list_processes(self._box))]

    def get_process(self, id: str) -> Process | None:
        """The process of an id; None: there is none."""
        found = self._run(calls.find_process(self._box, id))
        return Process(self._driver, self._box, found) if found else None

    def kill_process(self, id: str, signal: str | int = "SIGTERM") -> None:
        """See Process.kill. Raises ProcessNotFoundError."""
        self._run(calls.kill_process(self._box, id, signal))

    def kill_all_processes(self) -> int:
        """Ends every process that runs; how many there were."""
        return self._run(calls.kill_all_processes(self._box))

    def cleanup_completed_processes(self) -> int:
        """Forgets the processes that have ended; how many there were."""
        return self._run(calls.cleanup_completed_processes(self._box))

    # ---- files ----

    def write_file(
        self,
        path: str,
        content: Content,
        *,
        append: bool = False,
        offset: int | None = None,
        parents: bool = False,
        exclusive: bool = False,
        mode: str | None = None,
        user: str | None = None,
    ) -> FileInfo:
        """Writes a file: text, bytes, an open file or an iterable of bytes, of any length.

        The file is replaced at once or not at all, unless ``append`` or ``offset`` (in place, from that
        byte) ask otherwise. ``parents`` makes missing directories, ``exclusive`` refuses to replace,
        ``mode`` is octal ("0755"), ``user`` is user or root. Raises FileNotFoundError (its directory),
        IsDirectoryError, FileExistsError, PermissionDeniedError.
        """
        data = whole(content)
        query = {"append": append, "offset": offset, "parents": parents, "exclusive": exclusive, "mode": mode}
        sent = pieces(content) if data is None else data  # type: ignore[arg-type]
        return self._run(calls.file_of(calls.write_call(self._box, path, sent, data is None, **query, user=user)))

    def read_file(
        self, path: str, *, offset: int | None = None, length: int | None = None, user: str | None = None
    ) -> FileContent:
        """Reads a file, or a range of it, into memory. Raises FileNotFoundError, IsDirectoryError."""
        self._driver.run(self._box.prepared())
        with self._driver.open(calls.read_call(self._box, path, offset, length, user)) as response:
            mime = response.headers.get("content-type", "application/octet-stream").partition(";")[0]
            return FileContent(path, response.read(), mime)

    def read_file_stream(
        self, path: str, *, offset: int | None = None, length: int | None = None, user: str | None = None
    ) -> Generator[bytes, None, None]:
        """Bytes of a file of any length as they come."""
        self._driver.run(self._box.prepared())
        with self._driver.open(calls.read_call(self._box, path, offset, length, user)) as response:
            yield from response.iter_raw()

    def mkdir(
        self, path: str, *, recursive: bool = False, mode: str | None = None, user: str | None = None
    ) -> FileInfo:
        """Makes a directory. Raises FileExistsError (unless recursive), FileNotFoundError."""
        members = {"path": path, "recursive": recursive, "mode": mode, "user": user}
        return self._run(calls.operate(self._box, "mkdir", recursive, **members))

    def list_files(
        self,
        path: str = ".",
        *,
        recursive: bool = False,
        include_hidden: bool = False,
        include: Sequence[str] | None = None,
        exclude: Sequence[str] | None = None,
        depth: int | None = None,
        limit: int | None = None,
        user: str | None = None,
    ) -> FileList:
        """Entries of a directory.

        ``include`` and ``exclude`` are globs; without a slash they match names, else relative paths.
        ``depth`` implies recursive. ``limit`` defaults to 100000. Raises FileNotFoundError,
        NotDirectoryError.
        """
        members = {"path": path, "recursive": recursive, "include_hidden": include_hidden, "depth": depth}
        globs = {"include": include and list(include), "exclude": exclude and list(exclude)}
        return self._run(calls.list_files(self._box, **members, **globs, limit=limit, user=user))

    def move_file(
        self, source: str, destination: str, *, overwrite: bool = True, parents: bool = False, user: str | None = None
    ) -> FileInfo:
        """Moves a file or a tree. Raises FileNotFoundError, FileExistsError (overwrite=False)."""
        members = {"source": source, "destination": destination, "overwrite": overwrite, "parents": parents}
        return self._run(calls.operate(self._box, "move", False, **members, user=user))

    rename_file = move_file

    def copy_file(
        self,
        source: str,
        destination: str,
        *,
        recursive: bool = False,
        overwrite: bool = True,
        parents: bool = False,
        user: str | None = None,
    ) -> FileInfo:
        """Copies a file, or with ``recursive`` a tree."""
        members = {"source": source, "destination": destination, "overwrite": overwrite, "parents": parents}
        return self._run(calls.operate(self._box, "copy", False, **members, recursive=recursive, user=user))

    def delete_file(self, path: str, *, recursive: bool = False, user: str | None = None) -> None:
        """Raises FileNotFoundError, IsDirectoryError (unless recursive)."""
        self._run(calls.delete_file(self._box, path, recursive, user))

    def exists(self, path: str) -> bool:
        """Whether there is such a file or directory."""
        return self._run(calls.exists(self._box, path))

    def stat(self, path: str, *, follow_symlinks: bool = True, user: str | None = None) -> FileInfo:
        """Raises FileNotFoundError."""
        return self._run(calls.operate(self._box, "stat", True, path=path, follow_symlinks=follow_symlinks, user=user))

    def chmod(self, path: str, mode: str, *, recursive: bool = False, user: str | None = None) -> FileInfo:
        """``mode`` is octal, such as "0755"."""
        return self._run(calls.operate(self._box, "chmod", True, path=path, mode=mode, recursive=recursive, user=user))

    def symlink(
        self, target: str, path: str, *, overwrite: bool = False, parents: bool = False, user: str | None = None
    ) -> FileInfo:
        """Makes ``path`` a link to ``target``. Raises FileExistsError (unless overwrite)."""
        members = {"path": path, "target": target, "overwrite": overwrite, "parents": parents}
        return self._run(calls.operate(self._box, "symlink", False, **members, user=user))

    def search_files(
        self,
        query: str,
        *,
        path: str | None = None,
        regex: bool = False,
        ignore_case: bool = False,
        whole_word: bool = False,
        include_hidden: bool = False,
        include_ignored: bool = False,
        include: Sequence[str] | None = None,
        exclude: Sequence[str] | None = None,
        limit: int | None = None,
        user: str | None = None,
    ) -> SearchResult:
        """Lines of files that hold a text, or match a regular expression (of ripgrep). ``limit`` defaults to 1000."""
        how = {"regex": regex, "ignore_case": ignore_case, "whole_word": whole_word}
        what = {"include_hidden": include_hidden, "include_ignored": include_ignored, "limit": limit, "user": user}
        globs = {"include": include and list(include), "exclude": exclude and list(exclude)}
        return self._run(calls.search_files(self._box, query=query, path=path, **how, **what, **globs))

    def download_archive(
        self, path: str, *, format: str = "tar", user: str | None = None
    ) -> Generator[bytes, None, None]:
        """A directory as an archive (tar, tar.gz, tar.zst, tar.xz), in pieces as they come."""
        self._driver.run(self._box.prepared())
        call = calls.get(calls.file_address(self._box, path), archive=format, user=user)
        with self._driver.open(call) as response:
            yield from response.iter_raw()

    def upload_archive(
        self,
        path: str,
        archive: Content,
        *,
        format: str = "tar",
        parents: bool = False,
        max_bytes: int | None = None,
        user: str | None = None,
    ) -> None:
        """Unpacks an archive into a directory. Raises TooLargeError over ``max_bytes`` (default 16 GiB)."""
        data = whole(archive)
        sent = pieces(archive) if data is None else data  # type: ignore[arg-type]
        query = {"archive": format, "parents": parents, "maxBytes": max_bytes, "user": user}
        self._run(calls.done(calls.write_call(self._box, path, sent, data is None, **query)))

    def watch(
        self,
        path: str = "/workspace",
        *,
        recursive: bool | None = None,
        include: Sequence[str] | None = None,
        exclude: Sequence[str] | None = None,
        coalesce: float | None = None,
        user: str | None = None,
        since: str | None = None,
    ) -> Watcher:
        """Changes below a path; returns once they are seen.

        Default recursive, without .git, node_modules, .DS_Store. ``coalesce``: seconds in which changes
        of one file are told as one. ``since``: the cursor of an earlier watch. Raises FileNotFoundError,
        LimitError; status 410 if ``since`` is over.
        """
        return Watcher(self._driver, watch_source(self._box, path, recursive, include, exclude, coalesce, user, since))

    # ---- egress ----

    def get_egress(self) -> dict[str, Any]:
        """The policy in force; docs/egress-policy.md."""
        return self._run(calls.egress(self._box, "GET"))

    def set_egress(self, policy: Mapping[str, Any]) -> dict[str, Any]:
        """Another policy, also for open connections. Raises InvalidRequestError with line and column."""
        return self._run(calls.egress(self._box, "PUT", policy))

    def update_egress(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Changes to the policy: a JSON merge patch (RFC 7396)."""
        return self._run(calls.egress(self._box, "PATCH", changes))

    def reset_egress(self) -> dict[str, Any]:
        """Back to the server's default policy."""
        return self._run(calls.egress(self._box, "DELETE"))

    def set_allowed_hosts(self, hosts: Sequence[str] | None) -> None:
        """Hosts that it may reach, and no others; None: all."""
        self._run(calls.egress(self._box, "PATCH", {"allowedHosts": None if hosts is None else list(hosts)}))

    def set_denied_hosts(self, hosts: Sequence[str] | None) -> None:
        """Hosts that it may not reach; None: none."""
        self._run(calls.egress(self._box, "PATCH", {"deniedHosts": None if hosts is None else list(hosts)}))

    def set_outbound_handler(self, name: str | None, params: Any = None) -> None:
        """Gives every request to a handler ("module" or "module.handler"); None: to none."""
        self._run(calls.egress(self._box, "PATCH", {"runtime": {"outbound": calls.handler_choice(name, params)}}))

    def set_outbound_by_host(self, host: str, name: str | None, params: Any = None) -> None:
        """Gives requests to a host (a pattern) to a handler; None: to none."""
        self._run(
            calls.egress(
                self._box, "PATCH", {"runtime": {"outboundByHost": {host: calls.handler_choice(name, params)}}}
            )
        )

    def egress_log(self, cursor: str = "0") -> EgressLog:
        """Records from a cursor on ("0": the oldest that is kept)."""
        return self._run(calls.egress_log(self._box, cursor))

    # ---- ports, terminals ----

    def expose_port(
        self,
        port: int,
        *,
        name: str | None = None,
        token: str | None = None,
        expires_in: float | None = None,
        rotate: bool | None = None,
        login: bool | None = None,
    ) -> ExposedPort:
        """Shows a port under an address; one that is shown keeps its address unless ``rotate``.

        ``login``: the address alone opens nothing, a browser must have opened ``login_url`` once.

        ``token``: 8-16 of a-z 0-9 _; ``expires_in``: seconds. Raises InvalidRequestError, ConflictError
        (token).
        """
        members = {
            "name": name,
            "token": token,
            "expires_in": milliseconds(expires_in),
            "rotate": rotate,
            "login": login,
        }
        return self._run(calls.expose_port(self._box, port, **members))

    def unexpose_port(self, port: int) -> None:
        """Takes the address back; fine if there is none."""
        self._run(calls.remove(self._box, "ports", str(port)))

    def list_ports(self) -> list[ExposedPort]:
        """Ports that are shown."""
        return self._run(calls.list_ports(self._box))

    get_exposed_ports = list_ports

    def is_port_exposed(self, port: int) -> bool:
        """Whether a port has an address that is open."""
        return any(one.port == port and one.status == "active" for one in self.list_ports())

    def terminal(
        self,
        id: str | None = None,
        *,
        command: Command | None = None,
        cwd: str | None = None,
        env: Mapping[str, str | None] | None = None,
        cols: int | None = None,
        rows: int | None = None,
    ) -> Terminal:
        """The terminal of an id if it runs, else a new one (default: bash, 80 by 24)."""
        members = {**calls.command_body(command, cwd=cwd, env=env), **body(cols=cols, rows=rows)}
        return Terminal(self._driver, self._box, self._run(calls.open_terminal(self._box, id, members)))

    def get_terminal(self, id: str) -> Terminal | None:
        """The terminal of an id; None: there is none."""
        found = self._run(calls.get_terminal(self._box, id))
        return Terminal(self._driver, self._box, found) if found else None

    def list_terminals(self) -> list[Terminal]:
        """All terminals."""
        return [Terminal(self._driver, self._box, one) for one in self._run(calls.list_terminals(self._box))]

    # ---- code ----

    def create_code_context(
        self,
        language: str = "python",
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> CodeContext:
        """A new interpreter with a state of its own: python, javascript or typescript.

        ``timeout`` is the limit of runs that name none. Raises InvalidRequestError (language),
        LimitError.
        """
        members = {"language": language, "cwd": cwd, "env": env, "timeout": milliseconds(timeout)}
        return self._run(calls.create_code_context(self._box, **members))

    def list_code_contexts(self) -> list[CodeContext]:
        """All contexts, the oldest first."""
        return self._run(calls.list_code_contexts(self._box))

    def get_code_context(self, id: str) -> CodeContext:
        """Raises ContextNotFoundError."""
        return self._run(calls.get_code_context(self._box, id))

    def delete_code_context(self, context: CodeContext | str) -> None:
        """Raises ContextNotFoundError."""
        self._run(calls.remove(self._box, "contexts", calls.context_id(context)))

    def restart_code_context(self, context: CodeContext | str) -> CodeContext:
        """A new interpreter under the same id; variables are gone, files stay."""
        return self._run(calls.restart_code_context(self._box, context))

    def interrupt(self, context: CodeContext | str | None = None) -> None:
        """Interrupts what runs; state is kept. Without a context: in every context that is busy."""
        self._run(calls.interrupt(self._box, context))

    def run_code(
        self,
        code: str,
        *,
        context: CodeContext | str | None = None,
        language: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,
        formats: Sequence[str] | None = None,
        stop_on_error: bool | None = None,
        on_stdout: Callable[[OutputMessage], None] | None = None,
        on_stderr: Callable[[OutputMessage], None] | None = None,
        on_result: Callable[[Result], None] | None = None,
        on_error: Callable[[ExecutionError], None] | None = None,
        on_notice: Callable[[str], None] | None = None,
        on_input: Callable[[InputRequest], str] | None = None,
    ) -> Execution:
        """Runs code to its end; callbacks get output as it happens. An error of the code is in the Execution.

        Without ``context`` the sandbox's default context of the language is used. After ``timeout`` the
        run is interrupted, and killed if it does not stop within 5 s more. ``formats`` of figures: png,
        svg, jpeg, retina, pdf. ``on_input`` answers input(); without it, input() raises.
        KeyboardInterrupt in here interrupts the run, too. Raises ContextNotFoundError,
        InvalidRequestError (language), LimitError (queue).
        """
        members = run_body(
            code,
            context=context,
            language=language,
            env=env,
            timeout=timeout,
            formats=formats,
            stop_on_error=stop_on_error,
            allow_stdin=on_input is not None,
        )
        source = RunSource(self._box, members)
        collector = RunCollector(code, on_stdout, on_stderr, on_result, on_error, on_notice)
        try:
            for event in self._driver.events(source):
                asked = collector.take(event)
                if asked and on_input:
                    self._driver.run(calls.answer_input(self._box, source.id, on_input(asked)))
        except KeyboardInterrupt:
            if source.id:
                self._driver.run(calls.interrupt_run(self._box, source.id))
            raise
        return collector.result()

    def run_code_stream(
        self,
        code: str,
        *,
        context: CodeContext | str | None = None,
        language: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,
        formats: Sequence[str] | None = None,
        stop_on_error: bool | None = None,
        allow_stdin: bool = False,
    ) -> Generator[Event, None, None]:
        """The same as events, as docs/api.md lists them ("As events"); goes on by itself after a broken connection.

        Closing the generator stops nothing: see get_execution. With ``allow_stdin``, answer with
        send_input.
        """
        members = run_body(
            code,
            context=context,
            language=language,
            env=env,
            timeout=timeout,
            formats=formats,
            stop_on_error=stop_on_error,
            allow_stdin=allow_stdin,
        )
        yield from self._driver.events(RunSource(self._box, members))

    def send_input(self, context: CodeContext | str, value: str, execution_id: str | None = None) -> None:
        """Answers an input() of code that was run with run_code_stream. Raises ConflictError if nobody asks."""
        self._run(calls.send_input(self._box, context, value, execution_id))

    def complete(self, context: CodeContext | str, code: str, cursor_pos: int | None = None) -> Completion:
        """Completions at a place (in code points; default: the end)."""
        return self._run(calls.complete(self._box, context, code, cursor_pos))

    def inspect(
        self, context: CodeContext | str, code: str, cursor_pos: int | None = None, detail_level: int | None = None
    ) -> Inspection:
        """Documentation of what stands at a place."""
        return self._run(calls.inspect(self._box, context, code, cursor_pos, detail_level))

    def get_execution(self, id: str) -> Execution:
        """A run of before, also one that still runs. Raises ExecutionNotFoundError."""
        return self._run(calls.get_execution(self._box, id))

    def list_executions(self, limit: int | None = None) -> list[ExecutionInfo]:
        """Runs that are kept, without their output; the newest of each context first."""
        return self._run(calls.list_executions(self._box, limit))

    def execute_notebook(
        self,
        notebook: Mapping[str, Any],
        *,
        parameters: Mapping[str, Any] | None = None,
        language: str | None = None,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,
        allow_errors: bool | None = None,
        on_cell_started: Callable[[int], None] | None = None,
        on_cell_done: Callable[[CellDone], None] | None = None,
    ) -> NotebookResult:
        """Runs a notebook (nbformat 4) from its first cell to its last, in a context of its own.

        ``timeout`` is of one cell; ``allow_errors`` goes on after a cell that fails. An exception in here
        ends the run.
        """
        how = {"parameters": parameters, "language": language, "cwd": cwd, "env": env, "allow_errors": allow_errors}
        members = body(notebook=notebook, timeout=milliseconds(timeout), **how)
        collector = NotebookCollector(on_cell_started, on_cell_done)
        return self._driver.collect(NotebookSource(self._box, members), collector)


def get_sandbox(name: str, **options: Any) -> Sandbox:
    """The sandbox of a name; options are those of Sandbox."""
    return Sandbox(name, **options)


def list_sandboxes(
    *, url: str | None = None, token: str | None = None, retry: Retry | None = None
) -> list[SandboxInfo]:
    """All sandboxes of a server, the oldest first."""
    driver = Driver(Settings(url, token, retry))
    try:
        return driver.run(calls.list_sandboxes())
    finally:
        driver.close()


def put_secret(
    name: str,
    secret: Mapping[str, Any],
    *,
    url: str | None = None,
    token: str | None = None,
    retry: Retry | None = None,
) -> None:
    """Adds or replaces a secret, which can never be read again: docs/egress.md. Raises InvalidRequestError.

    ``secret``: ``value``, or ``username`` and ``password``, or ``accessKeyId`` and ``secretAccessKey``; ``hosts``, the
    only ones it is sent to; perhaps ``sandboxes`` that may use it and ``handlers`` that get it in clear text.
    """
    driver = Driver(Settings(url, token, retry))
    try:
        driver.run(calls.put_secret(name, secret))
    finally:
        driver.close()


def list_secrets(
    *, url: str | None = None, token: str | None = None, retry: Retry | None = None
) -> list[dict[str, Any]]:
    """Names, kinds and bounds of the secrets."""
    driver = Driver(Settings(url, token, retry))
    try:
        return driver.run(calls.list_named("secrets"))
    finally:
        driver.close()


def delete_secret(name: str, *, url: str | None = None, token: str | None = None, retry: Retry | None = None) -> None:
    """Raises NotFoundError."""
    driver = Driver(Settings(url, token, retry))
    try:
        driver.run(calls.delete_named("secrets", name))
    finally:
        driver.close()


def put_handler(
    name: str,
    source: str,
    env: Mapping[str, str] | None = None,
    *,
    url: str | None = None,
    token: str | None = None,
    retry: Retry | None = None,
) -> None:
    """Adds or replaces a handler module, if it compiles: docs/egress.md. Raises InvalidRequestError with its line."""
    driver = Driver(Settings(url, token, retry))
    try:
        driver.run(calls.put_handler(name, source, env))
    finally:
        driver.close()


def list_handlers(
    *, url: str | None = None, token: str | None = None, retry: Retry | None = None
) -> list[dict[str, Any]]:
    """Handler modules."""
    driver = Driver(Settings(url, token, retry))
    try:
        return driver.run(calls.list_named("handlers"))
    finally:
        driver.close()


def delete_handler(name: str, *, url: str | None = None, token: str | None = None, retry: Retry | None = None) -> None:
    """Raises NotFoundError."""
    driver = Driver(Settings(url, token, retry))
    try:
        driver.run(calls.delete_named("handlers", name))
    finally:
        driver.close()
