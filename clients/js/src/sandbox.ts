/** A sandbox: everything that can be done with it. */
import { Box, infoOf, type Limits, type SandboxInfo, type SandboxOptions, type Usage } from "./box.js";
import * as buckets from "./buckets.js";
import * as code from "./code.js";
import * as commands from "./commands.js";
import { Connection, type ConnectionOptions } from "./connection.js";
import * as egress from "./egress.js";
import { NotFoundError, SandboxNotFoundError } from "./errors.js";
import type { Execution, ExecutionInfo } from "./execution.js";
import * as files from "./files.js";
import * as git from "./git.js";
import * as notebook from "./notebook.js";
import * as ports from "./ports.js";
import * as process from "./process.js";
import * as sessions from "./session.js";
import type { WireEvent } from "./stream.js";
import * as terminals from "./terminal.js";
import { Watcher, type WatchOptions } from "./watch.js";

export interface GetSandboxOptions extends ConnectionOptions, SandboxOptions {}

/**
 * The sandbox of a name. Sends nothing: the sandbox is made by the first call that needs it, and concurrent first calls
 * make one. Options of the sandbox are put before its first use; those of one that exists must agree with it.
 *
 * @param name 1-63 of a-z 0-9 -, no - at either end
 */
export function getSandbox(name: string, options: GetSandboxOptions = {}): Sandbox {
  const { url, token, fetch, WebSocket, retry, signal, ...own } = options;
  const connection = { url, token, fetch, WebSocket, retry, signal };
  const given = Object.fromEntries(Object.entries(connection).filter(([, value]) => value !== undefined)) as ConnectionOptions;
  return new Sandbox(new Connection(given), name, own);
}

/** All sandboxes of a server, the oldest first. */
export async function listSandboxes(options: ConnectionOptions = {}): Promise<SandboxInfo[]> {
  const answer = await new Connection(options).json<{ sandboxes: Parameters<typeof infoOf>[0][] }>({
    method: "GET",
    path: "/v1/sandboxes",
    idempotent: true,
  });
  return answer.sandboxes.map(infoOf);
}

/** See getSandbox. Every method throws CellboxError for what the server refuses. */
export class Sandbox {
  readonly #box: Box;
  readonly #options: SandboxOptions;
  #destroying: Promise<void> | undefined;

  constructor(connection: Connection, readonly name: string, options: SandboxOptions = {}) {
    this.#options = options;
    this.#box = new Box(connection, name, options);
  }

  /** The same sandbox, all of whose calls are aborted by this signal, on top of those that calls have of their own. */
  withSignal(signal: AbortSignal): Sandbox {
    return new Sandbox(this.#box.connection.withSignal(signal), this.name, this.#options);
  }

  // ---- life ----

  /** Makes it if there is none, starts it if it is stopped; resolves once it runs. */
  start(): Promise<SandboxInfo> {
    this.#box.forget();
    return this.#box.start();
  }

  /** Its state; does not make it. @throws SandboxNotFoundError */
  info(): Promise<SandboxInfo> {
    return this.#box.info();
  }

  /**
   * Sets variables for everything that starts from now on, on top of those it has; undefined or null removes one.
   * Reads and writes: two at once may undo each other.
   */
  async setEnvVars(variables: Record<string, string | null | undefined>): Promise<void> {
    const { env } = await this.#box.need(() => this.#box.info());
    const merged = Object.entries({ ...env, ...variables }).filter((pair): pair is [string, string] => typeof pair[1] === "string");
    await this.#box.patch({ env: Object.fromEntries(merged) });
  }

  /** Replaces its labels. */
  async setLabels(labels: Record<string, string>): Promise<void> {
    await this.#box.patch({ labels });
  }

  /** When it sleeps: milliseconds, or "30s", "10m", "1h"; 0 is never. */
  async setSleepAfter(sleepAfter: number | string): Promise<void> {
    await this.#box.patch({ sleepAfter });
  }

  /** Whether it stays awake whatever sleepAfter says. */
  async setKeepAlive(keepAlive: boolean): Promise<void> {
    await this.#box.patch({ keepAlive });
  }

  /** Changes its limits, also while it runs; by a name such as "standard-1", or one by one. */
  async setLimits(limits: Limits | string): Promise<void> {
    await this.#box.patch(typeof limits === "string" ? { instanceType: limits } : { limits });
  }

  /** What it uses; does not wake it. @throws SandboxNotFoundError */
  usage(): Promise<Usage> {
    return this.#box.connection.json<Usage>({ method: "GET", path: `${this.#box.base}/usage`, idempotent: true });
  }

  /** Ends everything in it and removes its disk. One that is not there is no error; concurrent calls are one. */
  destroy(): Promise<void> {
    this.#destroying ??= this.#destroy().finally(() => (this.#destroying = undefined));
    return this.#destroying;
  }

  async #destroy(): Promise<void> {
    this.#box.forget();
    try {
      await this.#box.connection.done({ method: "DELETE", path: this.#box.base, idempotent: true });
    } catch (error) {
      if (!(error instanceof SandboxNotFoundError)) throw error;
    }
  }

  // ---- commands and sessions ----

  /**
   * Runs a command to its end: a string by the shell, a list as a program with its arguments. A failing command is no
   * error of this call: look at success and exitCode. Everything that it started ends with timeout or signal.
   * @throws CommandNotFoundError, PermissionDeniedError (the program of a list), LimitError
   */
  exec(
    command: commands.Command,
    options: commands.ExecOptions & commands.ExecCallbacks & commands.OutputBound = {},
  ): Promise<commands.ExecResult> {
    return commands.execToEnd(this.#box, "/exec", commands.commandBody(command, options), options);
  }

  /** The same as events: start, stdout, stderr, complete. Leaving the loop ends the command. */
  execStream(command: commands.Command, options: commands.ExecOptions = {}): AsyncGenerator<commands.ExecEvent, void, undefined> {
    return commands.execEvents(this.#box, "/exec", commands.commandBody(command, options), options.signal, options.stdin);
  }

  /** A persistent shell. @throws ConflictError if one of that id runs */
  createSession(options: sessions.SessionOptions = {}): Promise<sessions.ExecutionSession> {
    return sessions.createSession(this.#box, options);
  }

  /** The session of an id; sends nothing. */
  getSession(id: string): sessions.ExecutionSession {
    return new sessions.ExecutionSession(this.#box, id);
  }

  listSessions(): Promise<sessions.SessionInfo[]> {
    return sessions.listSessions(this.#box);
  }

  async deleteSession(id: string): Promise<{ success: true; sessionId: string }> {
    await this.getSession(id).delete();
    return { success: true, sessionId: id };
  }

  /**
   * Clones a repository into a directory of the sandbox.
   * @param url https, http, git, ssh, file:///path, /path in the sandbox; a user and a password in it are kept out of what is stored
   * @throws GitError with the code GIT_AUTH_FAILED, GIT_REPOSITORY_NOT_FOUND, GIT_BRANCH_NOT_FOUND, GIT_NETWORK_ERROR or
   * GIT_CLONE_FAILED, TimeoutError, FileExistsError (the directory holds something)
   */
  gitCheckout(url: string, options: git.GitCheckoutOptions = {}): Promise<git.GitCheckoutResult> {
    return git.gitCheckout(this.#box, url, options);
  }

  // ---- buckets ----

  /**
   * Makes a bucket of an object store a directory; requests are signed outside of the sandbox, which never sees the keys.
   * It comes back by itself whenever the sandbox wakes.
   * @param path absolute; made if it is missing
   * @throws BucketError with the code BUCKET_NOT_FOUND, BUCKET_ACCESS_DENIED or BUCKET_MOUNT_FAILED, ConflictError
   */
  mountBucket(bucket: string, path: string, options: buckets.MountBucketOptions): Promise<buckets.BucketInfo> {
    return buckets.mountBucket(this.#box, bucket, path, options);
  }

  /** By its path or its id. @throws ConflictError while a program uses it, unless force */
  unmountBucket(path: string, options: { force?: boolean } = {}): Promise<void> {
    return buckets.unmountBucket(this.#box, path, options.force ?? false);
  }

  listBuckets(): Promise<buckets.BucketInfo[]> {
    return buckets.listBuckets(this.#box);
  }

  // ---- processes ----

  /** Starts a process that outlives this request. @throws CommandNotFoundError, ConflictError, LimitError */
  startProcess(command: commands.Command, options: process.ProcessOptions = {}): Promise<process.Process> {
    return process.startProcess(this.#box, command, options);
  }

  listProcesses(): Promise<process.Process[]> {
    return process.listProcesses(this.#box);
  }

  /** null: there is none. */
  getProcess(id: string): Promise<process.Process | null> {
    return process.getProcess(this.#box, id);
  }

  /** @throws ProcessNotFoundError */
  async killProcess(id: string, signal: string | number = "SIGTERM"): Promise<void> {
    const found = await this.getProcess(id);
    if (!found) throw new NotFoundError(`no process ${id} in this sandbox`, "PROCESS_NOT_FOUND", 404, { process: id });
    await found.kill(signal);
  }

  /** Ends every process that runs; how many there were. */
  async killAllProcesses(): Promise<number> {
    const running = (await this.listProcesses()).filter((one) => one.status === "running" || one.status === "restarting");
    await Promise.all(running.map((one) => one.kill()));
    return running.length;
  }

  /** Forgets the processes that have ended; how many there were. */
  async cleanupCompletedProcesses(): Promise<number> {
    const ended = (await this.listProcesses()).filter((one) => one.status !== "running" && one.status !== "restarting");
    await Promise.all(ended.map((one) => one.delete()));
    return ended.length;
  }

  // ---- files ----

  /**
   * Writes a file: text, bytes, a Blob or a stream of any length. The file is replaced at once or not at all, unless
   * `append` or `offset` ask otherwise.
   * @throws FileNotFoundError (its directory, see `parents`), IsDirectoryError, PermissionDeniedError
   */
  writeFile(path: string, content: files.FileSource, options: files.WriteOptions = {}): Promise<files.FileResult> {
    return files.writeFile(this.#box, path, content, options);
  }

  /** Reads a file, or a range of it, into memory. @throws FileNotFoundError, IsDirectoryError, PermissionDeniedError */
  readFile(path: string, options: files.ReadOptions = {}): Promise<files.FileContent> {
    return files.readFile(this.#box, path, options);
  }

  /** Bytes of a file of any length as they come. */
  readFileStream(path: string, options: Omit<files.ReadOptions, "encoding"> = {}): Promise<ReadableStream<Uint8Array>> {
    return files.readFileStream(this.#box, path, options);
  }

  /** @throws FileExistsError (unless recursive), FileNotFoundError */
  mkdir(path: string, options: files.AsUser & { recursive?: boolean; mode?: string } = {}): Promise<files.FileResult & { recursive: boolean }> {
    return files.mkdir(this.#box, path, options);
  }

  /** @throws FileNotFoundError, NotDirectoryError */
  listFiles(path: string, options: files.ListOptions = {}): Promise<files.FileList> {
    return files.listFiles(this.#box, path, options);
  }

  /** @throws FileNotFoundError, FileExistsError (overwrite: false) */
  moveFile(source: string, destination: string, options: files.RelocateOptions = {}): Promise<files.MoveResult> {
    return files.relocate(this.#box, "move", source, destination, options);
  }

  /** The same as moveFile. */
  renameFile(oldPath: string, newPath: string, options: files.RelocateOptions = {}): Promise<files.MoveResult> {
    return files.relocate(this.#box, "move", oldPath, newPath, options);
  }

  /** Copies a file, or with `recursive` a tree. */
  copyFile(source: string, destination: string, options: files.RelocateOptions & { recursive?: boolean } = {}): Promise<files.MoveResult> {
    return files.relocate(this.#box, "copy", source, destination, options);
  }

  /** @throws FileNotFoundError, IsDirectoryError (unless recursive) */
  deleteFile(path: string, options: files.AsUser & { recursive?: boolean } = {}): Promise<{ success: true; path: string }> {
    return files.deleteFile(this.#box, path, options);
  }

  exists(path: string): Promise<{ success: true; path: string; exists: boolean }> {
    return files.exists(this.#box, path);
  }

  /** @throws FileNotFoundError */
  stat(path: string, options: files.AsUser & { followSymlinks?: boolean } = {}): Promise<files.FileInfo> {
    return files.stat(this.#box, path, options);
  }

  /** @param mode octal, such as "0755" */
  chmod(path: string, mode: string, options: files.AsUser & { recursive?: boolean } = {}): Promise<files.FileResult> {
    return files.chmod(this.#box, path, mode, options);
  }

  /** Makes `path` a link to `target`. Default overwrite: false. */
  symlink(target: string, path: string, options: files.RelocateOptions = {}): Promise<files.FileResult> {
    return files.symlink(this.#box, target, path, options);
  }

  /** Lines of files that hold a text, or match a regular expression. */
  searchFiles(query: string, options: files.SearchOptions = {}): Promise<{ matches: files.SearchMatch[]; count: number; truncated: boolean }> {
    return files.searchFiles(this.#box, query, options);
  }

  /** A directory as an archive. */
  downloadArchive(path: string, options: files.ArchiveOptions = {}): Promise<ReadableStream<Uint8Array>> {
    return files.downloadArchive(this.#box, path, options);
  }

  /** Unpacks an archive into a directory. @throws TooLargeError over maxBytes (default 16 GiB) */
  uploadArchive(path: string, archive: files.FileSource, options: files.ArchiveOptions & { parents?: boolean; maxBytes?: number } = {}): Promise<void> {
    return files.uploadArchive(this.#box, path, archive, options);
  }

  /** Changes below a path. Resolves once they are seen. @throws FileNotFoundError, LimitError */
  watch(path = "/workspace", options: WatchOptions = {}): Promise<Watcher> {
    return Watcher.start(this.#box, files.absolutePath(path), options);
  }

  // ---- ports ----

  /** Shows a port under an address; one that is shown keeps its address. @throws InvalidRequestError, ConflictError (token) */
  exposePort(port: number, options: ports.ExposePortOptions = {}): Promise<ports.ExposedPort> {
    return ports.exposePort(this.#box, port, options);
  }

  /** Takes the address back; fine if there is none. */
  unexposePort(port: number): Promise<void> {
    return ports.unexposePort(this.#box, port);
  }

  listPorts(): Promise<ports.ExposedPort[]> {
    return ports.listPorts(this.#box);
  }

  /** The same as listPorts. */
  getExposedPorts(): Promise<ports.ExposedPort[]> {
    return ports.listPorts(this.#box);
  }

  async isPortExposed(port: number): Promise<boolean> {
    return (await this.listPorts()).some((one) => one.port === port && one.status === "active");
  }

  // ---- egress ----

  /** The policy in force. */
  getEgress(): Promise<egress.EgressPolicy> {
    return egress.getEgress(this.#box);
  }

  /** Another policy, also for open connections. @throws InvalidRequestError: refused whole, with line and column */
  setEgress(policy: egress.EgressPolicy): Promise<egress.EgressPolicy> {
    return egress.setEgress(this.#box, policy);
  }

  /** Changes to the policy: a JSON merge patch (RFC 7396). */
  updateEgress(changes: Record<string, unknown>): Promise<egress.EgressPolicy> {
    return egress.updateEgress(this.#box, changes);
  }

  /** Back to the server's default policy. */
  resetEgress(): Promise<egress.EgressPolicy> {
    return egress.resetEgress(this.#box);
  }

  /** Hosts that it may reach, and no others; null: all. */
  async setAllowedHosts(hosts: string[] | null): Promise<void> {
    await egress.updateEgress(this.#box, { allowedHosts: hosts });
  }

  /** Hosts that it may not reach; null: none. */
  async setDeniedHosts(hosts: string[] | null): Promise<void> {
    await egress.updateEgress(this.#box, { deniedHosts: hosts });
  }

  /** Gives every request to a handler ("module" or "module.handler"); null: to none. */
  async setOutboundHandler(name: string | null, params?: unknown): Promise<void> {
    await egress.updateEgress(this.#box, { runtime: { outbound: name === null ? null : { name, params: params ?? null } } });
  }

  /** Gives requests to a host (a pattern) to a handler; null: to none. */
  async setOutboundByHost(host: string, name: string | null, params?: unknown): Promise<void> {
    await egress.updateEgress(this.#box, { runtime: { outboundByHost: { [host]: name === null ? null : { name, params: params ?? null } } } });
  }

  /** Records from a cursor on ("0": the oldest that is kept). */
  egressLog(cursor?: string): Promise<egress.EgressLog> {
    return egress.egressLog(this.#box, cursor);
  }

  /** Records as they come. */
  followEgress(options: egress.FollowOptions = {}): AsyncGenerator<egress.EgressRecord, void, undefined> {
    return egress.followEgress(this.#box, options);
  }

  // ---- terminals ----

  /** The terminal of an id if it runs, else a new one. */
  terminal(options: terminals.TerminalOptions = {}): Promise<terminals.Terminal> {
    return terminals.openTerminal(this.#box, options);
  }

  /** null: there is none. */
  getTerminal(id: string): Promise<terminals.Terminal | null> {
    return terminals.getTerminal(this.#box, id);
  }

  listTerminals(): Promise<terminals.Terminal[]> {
    return terminals.listTerminals(this.#box);
  }

  // ---- code ----

  /** A new interpreter with a state of its own. @throws InvalidRequestError (language), LimitError */
  createCodeContext(options: code.CodeContextOptions = {}): Promise<code.CodeContext> {
    return code.createCodeContext(this.#box, options);
  }

  listCodeContexts(): Promise<code.CodeContext[]> {
    return code.listCodeContexts(this.#box);
  }

  /** @throws ContextNotFoundError */
  getCodeContext(id: string): Promise<code.CodeContext> {
    return code.getCodeContext(this.#box, id);
  }

  /** @throws ContextNotFoundError */
  deleteCodeContext(context: code.ContextRef): Promise<void> {
    return code.deleteCodeContext(this.#box, context);
  }

  /** A new interpreter under the same id; variables are gone, files stay. */
  restartCodeContext(context: code.ContextRef): Promise<code.CodeContext> {
    return code.restartCodeContext(this.#box, context);
  }

  /** Interrupts what runs; state is kept. Without a context: in every context that is busy. */
  interrupt(context?: code.ContextRef): Promise<void> {
    return code.interrupt(this.#box, context);
  }

  /**
   * Runs code to its end; output is handed over as it happens. An error of the code is in the Execution.
   * @throws ContextNotFoundError, InvalidRequestError (language), LimitError (queue)
   */
  runCode(source: string, options: code.RunCodeOptions = {}): Promise<Execution> {
    return code.runCode(this.#box, source, options);
  }

  /** The same as events; docs/api.md lists them. */
  runCodeStream(source: string, options: code.RunOptions = {}): AsyncGenerator<WireEvent, void, undefined> {
    return code.runCodeStream(this.#box, source, options);
  }

  /** Answers an input() of code that was run with runCodeStream. */
  sendInput(context: code.ContextRef, value: string, executionId?: string): Promise<void> {
    return code.sendInput(this.#box, context, value, executionId);
  }

  /** Completions at a place (in code points; default: the end). */
  complete(context: code.ContextRef, source: string, cursorPos?: number): Promise<code.Completion> {
    return code.complete(this.#box, context, source, cursorPos);
  }

  /** Documentation of what stands at a place. */
  inspect(context: code.ContextRef, source: string, options: { cursorPos?: number; detailLevel?: 0 | 1 } = {}): Promise<code.Inspection> {
    return code.inspect(this.#box, context, source, options);
  }

  /** A run of before, also one that still runs. @throws ExecutionNotFoundError */
  getExecution(id: string): Promise<Execution> {
    return code.getExecution(this.#box, id);
  }

  /** Runs that are kept, without their output; the newest of each context first. */
  listExecutions(limit?: number): Promise<ExecutionInfo[]> {
    return code.listExecutions(this.#box, limit);
  }

  /** Runs a notebook from its first cell to its last, in a context of its own. */
  executeNotebook(source: notebook.Notebook, options: notebook.NotebookOptions = {}): Promise<notebook.NotebookResult> {
    return notebook.executeNotebook(this.#box, source, options);
  }
}
