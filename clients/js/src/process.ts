/** Background processes: they outlive the request that starts them, and the gateway. docs/processes.md. */
import type { Box } from "./box.js";
import { commandBody, withBytes, type Command, type ExecOptions } from "./commands.js";
import { outputText } from "./encoding.js";
import { ProcessNotFoundError, ProcessReadyTimeoutError } from "./errors.js";
import { bodyFor, type FileSource } from "./files.js";
import { patternOf } from "./pattern.js";
import { resumeEvents } from "./stream.js";

export type ProcessStatus = "running" | "restarting" | "completed" | "failed" | "killed" | "error";

export interface ProcessOptions extends Omit<ExecOptions, "stdin" | "signal"> {
  /** 1-64 of A-Z a-z 0-9 . _ -; made up by the server if absent. */
  processId?: string;
  /** When it is started again after its end. Default never. */
  restart?: "never" | "on-failure" | "always";
  /** 0 is no bound. */
  maxRestarts?: number;
  /** Bytes of output that are kept, the newest. Default 1 MiB. */
  logLimit?: number;
  labels?: Record<string, string>;
  /** The sandbox does not sleep while it runs. Default false. */
  keepAwake?: boolean;
  /** It reads what `writeStdin` sends; without it there is nothing to read. Default false. */
  stdin?: boolean;
}

export interface ProcessInfo {
  id: string;
  pid: number | null;
  command: string;
  cwd: string;
  status: ProcessStatus;
  startTime: Date;
  endTime?: Date;
  exitCode?: number;
  /** Name of the signal that ended it. */
  signal?: string | null;
  timedOut?: boolean;
  restart: string;
  restarts: number;
  labels?: Record<string, string>;
  /** Why it could not be started (again). */
  error?: string;
}

type WireProcess = Omit<ProcessInfo, "startTime" | "endTime"> & { startTime: string; endTime?: string };

function processInfo(wire: WireProcess): ProcessInfo {
  const { startTime, endTime, ...rest } = wire;
  return { ...rest, startTime: new Date(startTime), ...(endTime === undefined ? {} : { endTime: new Date(endTime) }) };
}

export interface Logs {
  stdout: string;
  stderr: string;
  processId: string;
  /** Give it back as `cursor` to get only what came later. */
  cursor: number;
  /** Output between the given cursor and what is kept has been dropped. */
  truncated: boolean;
}

export interface LogOptions {
  cursor?: number;
  /** Only one of the two. */
  stream?: "stdout" | "stderr";
  signal?: AbortSignal;
}

/** What streamLogs gives. `gap`: output was dropped before this place. */
export type LogEvent =
  | { type: "stdout" | "stderr"; timestamp: string; data: string; bytes: Uint8Array; processId: string; cursor: number }
  | { type: "gap"; timestamp: string; cursor: number }
  | { type: "restart"; timestamp: string; restarts: number; exitCode: number; signal: string | null; timedOut: boolean }
  | { type: "exit"; timestamp: string; processId: string; exitCode: number; signal: string | null; timedOut: boolean };

export interface WaitOptions {
  /** Milliseconds; default: as long as it takes. */
  timeout?: number;
  signal?: AbortSignal;
}

export interface WaitForPortOptions extends WaitOptions {
  /** Default http: an answer with a status in the range; tcp: a connection. */
  mode?: "http" | "tcp";
  /** Default /. */
  path?: string;
  /** Default 200 to 399. */
  status?: number | { min: number; max: number };
  /** Milliseconds between attempts. Default 100. */
  interval?: number;
}

export interface LogMatch {
  line: string;
  stream: "stdout" | "stderr";
  /** The match and its groups; a group that took no part is null. */
  match: (string | null)[];
}

export interface ExitInfo {
  exitCode: number;
  signal: string | null;
  timedOut: boolean;
}

/** One wait of the server is at most so long, so that no proxy or client library takes silence for a fault. */
const WAIT_SLICE_MS = 60_000;

/** A background process. Its fields are as of the last answer of the server; getStatus() asks again. */
export class Process {
  #info: ProcessInfo;
  readonly #path: string;

  constructor(
    private readonly box: Box,
    info: ProcessInfo,
  ) {
    this.#info = info;
    this.#path = `${box.base}/processes/${encodeURIComponent(info.id)}`;
  }

  get info(): ProcessInfo {
    return this.#info;
  }
  get id(): string {
    return this.#info.id;
  }
  get pid(): number | null {
    return this.#info.pid;
  }
  get command(): string {
    return this.#info.command;
  }
  get status(): ProcessStatus {
    return this.#info.status;
  }
  get startTime(): Date {
    return this.#info.startTime;
  }
  get endTime(): Date | undefined {
    return this.#info.endTime;
  }
  get exitCode(): number | undefined {
    return this.#info.exitCode;
  }

  toJSON(): ProcessInfo {
    return this.#info;
  }

  /** Asks the server and updates the fields. */
  async refresh(): Promise<this> {
    this.#info = processInfo(await this.box.json<WireProcess>({ method: "GET", path: this.#path, idempotent: true }));
    return this;
  }

  async getStatus(): Promise<ProcessStatus> {
    return (await this.refresh()).status;
  }

  /**
   * Sends a signal (name or number, default SIGTERM). TERM, INT, HUP, QUIT and KILL end the whole tree, with KILL
   * after `grace` milliseconds (default 5000); others only arrive. Returns before the process has ended: waitForExit.
   */
  async kill(signal: string | number = "SIGTERM", options: { grace?: number; tree?: boolean } = {}): Promise<void> {
    const json = { signal, ...options };
    this.#info = processInfo(await this.box.json<WireProcess>({ method: "POST", path: `${this.#path}/kill`, json, idempotent: true }));
  }

  /** Ends it if it runs, and forgets it and its logs. */
  delete(): Promise<void> {
    return this.box.done({ method: "DELETE", path: this.#path, idempotent: true });
  }

  /** What is kept of its output, all of it or from a cursor on. */
  async getLogs(options: LogOptions = {}): Promise<Logs> {
    const query = { cursor: options.cursor, stream: options.stream };
    const wire = await this.box.json<Logs & { stdoutEncoding: string; stderrEncoding: string }>({
      method: "GET",
      path: `${this.#path}/logs`,
      query,
      idempotent: true,
      signal: options.signal,
    });
    const { stdoutEncoding, stderrEncoding, ...rest } = wire;
    return { ...rest, stdout: outputText(wire.stdout, stdoutEncoding), stderr: outputText(wire.stderr, stderrEncoding) };
  }

  /** Short for getLogs. */
  logs(options: LogOptions = {}): Promise<Logs> {
    return this.getLogs(options);
  }

  /** Output that is kept and then as it comes, up to the event `exit`. Goes on by itself after a broken connection. */
  async *streamLogs(options: LogOptions = {}): AsyncGenerator<LogEvent, void, undefined> {
    const follow = (cursor: string): { method: "GET"; path: string; query: Record<string, string | undefined>; idempotent: true; signal: AbortSignal | undefined } => ({
      method: "GET",
      path: `${this.#path}/logs`,
      query: { follow: "true", cursor: cursor || undefined, stream: options.stream },
      idempotent: true,
      signal: options.signal,
    });
    const first = follow(options.cursor === undefined ? "" : String(options.cursor));
    const events = resumeEvents(this.box.connection, { first, again: (id) => (id ? follow(id) : first), last: new Set(["exit"]) });
    for await (const event of events)
      yield (event.type === "stdout" || event.type === "stderr" ? withBytes(event) : event) as unknown as LogEvent;
  }

  /**
   * Standard input, of any length; resolves once the process has been given all of it. `end`: nothing follows.
   * @throws ConflictError if it was started without `stdin`, or ends before
   */
  async writeStdin(source: FileSource, options: { end?: boolean; signal?: AbortSignal } = {}): Promise<void> {
    const query = { end: options.end ? "true" : undefined };
    const call = { method: "POST", path: `${this.#path}/input`, query, body: bodyFor(source, false), idempotent: false, signal: options.signal } as const;
    await this.box.done(call);
  }

  /** Nothing follows. */
  closeStdin(): Promise<void> {
    return this.writeStdin("", { end: true });
  }

  /**
   * Waits for a line of output that holds the text or matches the pattern; what was written before counts, too.
   * The server matches (PCRE2), so the usual syntax of RegExp works; flags i, m, s and u are kept.
   * @throws ProcessReadyTimeoutError, ProcessExitedBeforeReadyError
   */
  async waitForLog(pattern: string | RegExp, options: WaitOptions | number = {}): Promise<LogMatch> {
    const condition = typeof pattern === "string" ? { log: pattern } : { pattern: patternOf(pattern) };
    return this.#wait<LogMatch>(condition, options);
  }

  /**
   * Waits until a port of the box answers. Gives the HTTP status, unless mode is tcp.
   * @throws ProcessReadyTimeoutError, ProcessExitedBeforeReadyError
   */
  async waitForPort(port: number, options: WaitForPortOptions = {}): Promise<{ port: number; status?: number }> {
    const condition: Record<string, unknown> = { port };
    for (const name of ["mode", "path", "interval"] as const) if (options[name] !== undefined) condition[name] = options[name];
    if (options.status !== undefined) {
      const range = typeof options.status === "number" ? { min: options.status, max: options.status } : options.status;
      Object.assign(condition, { statusMin: range.min, statusMax: range.max });
    }
    return this.#wait<{ port: number; status?: number }>(condition, options);
  }

  /** Waits for its end (of a restarted one: its last). */
  async waitForExit(options: WaitOptions | number = {}): Promise<ExitInfo> {
    const wire = await this.#wait<ExitInfo>({ exit: true }, options);
    return { exitCode: wire.exitCode, signal: wire.signal, timedOut: wire.timedOut };
  }

  async #wait<T>(condition: object, options: WaitOptions | number): Promise<T> {
    const { timeout, signal } = typeof options === "number" ? { timeout: options, signal: undefined } : options;
    const end = timeout === undefined ? Infinity : Date.now() + timeout;
    for (;;) {
      const left = end - Date.now();
      const slice = Math.max(1, Math.ceil(Math.min(left, WAIT_SLICE_MS)));
      try {
        const json = { ...condition, timeout: slice };
        return await this.box.json<T>({ method: "POST", path: `${this.#path}/wait`, json, idempotent: true, signal });
      } catch (error) {
        if (!(error instanceof ProcessReadyTimeoutError) || left <= WAIT_SLICE_MS) throw error;
      }
    }
  }
}

export async function startProcess(box: Box, command: Command, options: ProcessOptions): Promise<Process> {
  const { processId, restart, maxRestarts, logLimit, labels, keepAwake, stdin, ...rest } = options;
  const own = { processId, restart, maxRestarts, logLimit, labels, keepAwake, stdin };
  const json = { ...commandBody(command, rest), ...own };
  const made = await box.json<WireProcess>({ method: "POST", path: `${box.base}/processes`, json, idempotent: false });
  return new Process(box, processInfo(made));
}

export async function listProcesses(box: Box): Promise<Process[]> {
  const answer = await box.json<{ processes: WireProcess[] }>({ method: "GET", path: `${box.base}/processes`, idempotent: true });
  return answer.processes.map((wire) => new Process(box, processInfo(wire)));
}

/** null: there is none of that id. */
export async function getProcess(box: Box, id: string): Promise<Process | null> {
  try {
    const path = `${box.base}/processes/${encodeURIComponent(id)}`;
    return new Process(box, processInfo(await box.json<WireProcess>({ method: "GET", path, idempotent: true })));
  } catch (error) {
    if (error instanceof ProcessNotFoundError) return null;
    throw error;
  }
}

