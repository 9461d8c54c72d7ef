/** Commands: POST …/exec, and the same in a session. docs/processes.md. */
import type { Box } from "./box.js";
import { anySignal } from "./connection.js";
import { outputBytes, outputText, toBase64 } from "./encoding.js";
import { ConflictError, ConnectionError } from "./errors.js";
import { bodyFor, type FileSource } from "./files.js";
import { errorOfEvent, openEvents, type WireEvent } from "./stream.js";

/** A line for the shell, or a program with its arguments. */
export type Command = string | readonly string[];

/** Options of a script in a session. */
export interface ScriptOptions {
  /** Time limit in milliseconds; then TERM, and KILL after `grace`, for the whole tree. */
  timeout?: number;
  /** Milliseconds between TERM and KILL. Default 5000. */
  grace?: number;
  /** Aborting ends the command with everything that it started. */
  signal?: AbortSignal;
}

export interface ExecOptions extends ScriptOptions {
  /** Default /workspace; relative paths lie below it. */
  cwd?: string;
  /** On top of the sandbox's; values that are undefined are left out. */
  env?: Record<string, string | undefined>;
  /** Its standard input; a stream is sent as it comes, however long. Without it the command reads an empty one. */
  stdin?: FileSource;
}

export interface ExecCallbacks {
  /** Output as it happens. */
  onOutput?: (stream: "stdout" | "stderr", data: string) => void;
  onComplete?: (result: ExecResult) => void;
  onError?: (error: Error) => void;
}

/** Bound of what is kept of each stream by exec, in bytes; beyond it `truncated` is true. */
export interface OutputBound {
  /** Default 32 MiB. */
  maxOutput?: number;
}

/** How a command ended and what it wrote. */
export class ExecResult {
  /** Exit code 0. */
  readonly success: boolean;
  /** 128 + signal if one ended it, 124 after a timeout. */
  readonly exitCode: number;
  /** Name of the signal that ended it. */
  readonly signal: string | null;
  readonly timedOut: boolean;
  /** Output was left out: over maxOutput, or dropped in the box. */
  readonly truncated: boolean;
  readonly command: string;
  /** Milliseconds. */
  readonly duration: number;
  readonly timestamp: string;
  readonly sessionId?: string;
  /** The session's shell ended with this script; the next one has a new shell. */
  readonly sessionEnded?: boolean;
  /** The session's shell was new, because the one before had ended. */
  readonly sessionRestarted?: boolean;
  readonly stdoutBytes: Uint8Array;
  readonly stderrBytes: Uint8Array;

  constructor(command: string, end: WireEvent, stdout: Uint8Array, stderr: Uint8Array, truncated: boolean) {
    this.command = command;
    this.success = end["success"] as boolean;
    this.exitCode = end["exitCode"] as number;
    this.signal = end["signal"] as string | null;
    this.timedOut = end["timedOut"] as boolean;
    this.truncated = truncated || (end["truncated"] as boolean);
    this.duration = end["durationMs"] as number;
    this.timestamp = end.timestamp;
    this.stdoutBytes = stdout;
    this.stderrBytes = stderr;
    if (typeof end["sessionId"] === "string") {
      this.sessionId = end["sessionId"];
      this.sessionEnded = end["sessionEnded"] as boolean;
      this.sessionRestarted = end["sessionRestarted"] as boolean;
    }
  }

  /** Standard output as text; bytes that are no UTF-8 are U+FFFD (see stdoutBytes). */
  get stdout(): string {
    return new TextDecoder().decode(this.stdoutBytes);
  }

  get stderr(): string {
    return new TextDecoder().decode(this.stderrBytes);
  }

  toJSON(): object {
    const members = Object.entries(this).filter(([name]) => !name.endsWith("Bytes"));
    return { ...Object.fromEntries(members), stdout: this.stdout, stderr: this.stderr };
  }
}

/** Events of a command as they happen. `error` is never one of them: it is thrown. */
export type ExecEvent =
  | { type: "start"; timestamp: string; command: string; pid?: number; processId?: string; sessionId?: string }
  | { type: "stdout" | "stderr"; timestamp: string; data: string; bytes: Uint8Array }
  | {
      type: "complete";
      timestamp: string;
      exitCode: number;
      signal: string | null;
      success: boolean;
      timedOut: boolean;
      truncated: boolean;
      durationMs: number;
      sessionId?: string;
      sessionEnded?: boolean;
      sessionRestarted?: boolean;
    };

function definedOnly(env: Record<string, string | undefined>): Record<string, string> {
  return Object.fromEntries(Object.entries(env).filter((pair): pair is [string, string] => pair[1] !== undefined));
}

/** The body of a call that starts a command. */
export function commandBody(command: Command, options: ExecOptions): Record<string, unknown> {
  const body: Record<string, unknown> = { command };
  if (options.cwd !== undefined) body["cwd"] = options.cwd;
  if (options.env) body["env"] = definedOnly(options.env);
  if (options.timeout !== undefined) body["timeout"] = options.timeout;
  if (options.grace !== undefined) body["grace"] = options.grace;
  if (typeof options.stdin === "string") body["stdin"] = options.stdin;
  else if (options.stdin instanceof Uint8Array) Object.assign(body, { stdin: toBase64(options.stdin), stdinEncoding: "base64" });
  else if (options.stdin) body["stdinStream"] = true;
  return body;
}

/** Output events carry text, or base64 for bytes that are none. */
export function withBytes(event: WireEvent): WireEvent {
  const data = event["data"] as string;
  const encoding = event["encoding"] as string | undefined;
  return { ...event, data: outputText(data, encoding), bytes: outputBytes(data, encoding) };
}

/** Sends a command's input beside it until `signal`. What goes wrong ends the command by way of `failed`. */
async function feed(box: Box, processId: string, source: FileSource, signal: AbortSignal, failed: (error: unknown) => void): Promise<void> {
  const path = `${box.base}/processes/${encodeURIComponent(processId)}/input`;
  try {
    await box.done({ method: "POST", path, query: { end: "true" }, body: bodyFor(source, false), idempotent: false, signal });
  } catch (error) {
    const ended = error instanceof ConflictError; // it did not want all of it
    if (!ended && !signal.aborted) failed(error);
  }
}

/**
 * Events of a command. The last one is `complete`; everything else that ends the stream is thrown. `input`: what a
 * body with `stdinStream` promises.
 */
export async function* execEvents(
  box: Box,
  where: string,
  body: object,
  signal?: AbortSignal,
  input?: FileSource,
): AsyncGenerator<ExecEvent, void, undefined> {
  const broken = new AbortController();
  const over = new AbortController();
  const ends = signal ? anySignal(signal, broken.signal) : broken.signal;
  const call = { method: "POST", path: box.base + where, json: body, idempotent: false, signal: ends } as const;
  const first = await box.need(async () => {
    const events = openEvents(box.connection, call);
    return { events, head: await events.next() };
  });
  try {
    for (let { head } = first; !head.done; head = await first.events.next()) {
      const { event } = head.value;
      if (event.type === "error") throw errorOfEvent(event);
      if (event.type === "start" && input && "stdinStream" in body)
        void feed(box, event["processId"] as string, input, over.signal, (error) => { broken.abort(error); });
      yield (event.type === "stdout" || event.type === "stderr" ? withBytes(event) : event) as unknown as ExecEvent;
      if (event.type === "complete") return;
    }
  } finally {
    over.abort();
    await first.events.return(undefined);
  }
  throw new ConnectionError("the connection ended before the command did");
}

/** Pieces up to a bound. */
class Collected {
  readonly #pieces: Uint8Array[] = [];
  #length = 0;
  cut = false;

  constructor(private readonly bound: number) {}

  add(piece: Uint8Array): void {
    const room = this.bound - this.#length;
    this.cut ||= piece.length > room;
    const kept = piece.length > room ? piece.subarray(0, room) : piece;
    this.#pieces.push(kept);
    this.#length += kept.length;
  }

  bytes(): Uint8Array {
    const whole = new Uint8Array(this.#length);
    let at = 0;
    for (const piece of this.#pieces) {
      whole.set(piece, at);
      at += piece.length;
    }
    return whole;
  }
}

/** Runs a command to its end. */
export async function execToEnd(
  box: Box,
  where: string,
  body: object,
  options: ScriptOptions & ExecCallbacks & OutputBound & { stdin?: FileSource },
): Promise<ExecResult> {
  const bound = options.maxOutput ?? 32 << 20;
  const out = { stdout: new Collected(bound), stderr: new Collected(bound) };
  let command = "";
  try {
    for await (const event of execEvents(box, where, body, options.signal, options.stdin)) {
      if (event.type === "start") {
        command = event.command;
      } else if (event.type === "complete") {
        const cut = out.stdout.cut || out.stderr.cut;
        const result = new ExecResult(command, event, out.stdout.bytes(), out.stderr.bytes(), cut);
        options.onComplete?.(result);
        return result;
      } else {
        out[event.type].add(event.bytes);
        options.onOutput?.(event.type, event.data);
      }
    }
  } catch (error) {
    options.onError?.(error as Error);
    throw error;
  }
  throw new ConnectionError("the connection ended before the command did");
}
