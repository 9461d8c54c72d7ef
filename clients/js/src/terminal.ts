/** Pseudo-terminals, and their viewers over WebSocket. docs/processes.md. */
import type { Box } from "./box.js";
import { commandBody, type Command } from "./commands.js";
import { utf8 } from "./encoding.js";
import { CellboxError, ConnectionError, TerminalNotFoundError } from "./errors.js";
import { pauseBefore, sleep } from "./retry.js";
import type { WebSocketLike } from "./websocket.js";

export interface TerminalOptions {
  /** 1-64 of A-Z a-z 0-9 . _ -; a terminal of that id that runs is used, else it is made. */
  id?: string;
  /** Default bash. */
  command?: Command;
  /** Default /workspace. */
  cwd?: string;
  env?: Record<string, string>;
  /** Default 80. */
  cols?: number;
  /** Default 24. */
  rows?: number;
  /** Time limit of the program in milliseconds. */
  timeout?: number;
}

export interface TerminalInfo {
  id: string;
  pid?: number;
  status: "running" | "exited";
  command: string;
  cols: number;
  rows: number;
  /** Who looks at it now. */
  viewers: number;
  startTime: Date;
  exitCode?: number;
  signal?: string | null;
}

type WireTerminal = Omit<TerminalInfo, "startTime"> & { startTime: string };

function terminalInfo(wire: WireTerminal): TerminalInfo {
  return { ...wire, startTime: new Date(wire.startTime) };
}

export interface TerminalExit {
  code: number;
  signal?: string;
}

export type ConnectionState = "connecting" | "connected" | "disconnected";

export interface AttachOptions {
  /** Sets the size on every connection. */
  cols?: number;
  rows?: number;
  /** Only looks. */
  readOnly?: boolean;
  /** Bytes of its output that are known already; default 0: what is kept is shown again. */
  cursor?: number;
  /** Connect again after a broken connection, without losing or repeating output. Default true. */
  reconnect?: boolean;
  onData?: (data: Uint8Array) => void;
  onExit?: (exit: TerminalExit) => void;
  /** The server refused a message, e.g. input of a read-only viewer. */
  onError?: (message: string) => void;
  onStateChange?: (state: ConnectionState) => void;
}

/** A terminal of a box; it outlives its viewers. */
export class Terminal {
  readonly #path: string;

  constructor(
    private readonly box: Box,
    readonly info: TerminalInfo,
  ) {
    this.#path = `${box.base}/terminals/${encodeURIComponent(info.id)}`;
  }

  get id(): string {
    return this.info.id;
  }

  /** As it is now. */
  async getInfo(): Promise<TerminalInfo> {
    return terminalInfo(await this.box.json<WireTerminal>({ method: "GET", path: this.#path, idempotent: true }));
  }

  /** A viewer. Resolves once it is connected and has been shown what is kept. */
  async connect(options: AttachOptions = {}): Promise<TerminalConnection> {
    const viewer = new TerminalConnection((query) => this.box.connection.openWebSocket(`${this.#path}/attach`, query), options);
    await viewer.ready;
    return viewer;
  }

  /** A viewer that is not connected yet: for callers that must not wait. */
  attach(options: AttachOptions = {}): TerminalConnection {
    return new TerminalConnection((query) => this.box.connection.openWebSocket(`${this.#path}/attach`, query), options);
  }

  /** Ends its program and forgets it. */
  delete(): Promise<void> {
    return this.box.done({ method: "DELETE", path: this.#path, idempotent: true });
  }
}

export async function openTerminal(box: Box, options: TerminalOptions): Promise<Terminal> {
  if (options.id !== undefined) {
    const known = await getTerminal(box, options.id);
    if (known?.info.status === "running") return known;
  }
  const { id, cols, rows, command, ...rest } = options;
  const body: Record<string, unknown> = commandBody(command ?? "", rest);
  if (command === undefined) delete body["command"];
  const json = { ...body, id, cols, rows };
  return new Terminal(box, terminalInfo(await box.json<WireTerminal>({ method: "POST", path: `${box.base}/terminals`, json, idempotent: false })));
}

export async function getTerminal(box: Box, id: string): Promise<Terminal | null> {
  try {
    const path = `${box.base}/terminals/${encodeURIComponent(id)}`;
    return new Terminal(box, terminalInfo(await box.json<WireTerminal>({ method: "GET", path, idempotent: true })));
  } catch (error) {
    if (error instanceof TerminalNotFoundError) return null;
    throw error;
  }
}

export async function listTerminals(box: Box): Promise<Terminal[]> {
  const answer = await box.json<{ terminals: WireTerminal[] }>({ method: "GET", path: `${box.base}/terminals`, idempotent: true });
  return answer.terminals.map((wire) => new Terminal(box, terminalInfo(wire)));
}

type Query = Record<string, string | number | boolean | undefined>;
interface Deferred<T> {
  promise: Promise<T>;
  resolve: (value: T) => void;
  reject: (error: unknown) => void;
}

function deferred<T>(): Deferred<T> {
  const made = {} as Deferred<T>;
  made.promise = new Promise<T>((resolve, reject) => {
    made.resolve = resolve;
    made.reject = reject;
  });
  made.promise.catch(() => undefined); // whoever wants to know asks
  return made;
}

function bytesOf(data: unknown): Uint8Array {
  return data instanceof ArrayBuffer ? new Uint8Array(data) : new Uint8Array(data as ArrayLike<number>);
}

/** One viewer: bytes in both directions, size, signals. Iterating gives the output until the program or the viewer ends. */
export class TerminalConnection implements AsyncIterable<Uint8Array> {
  readonly #ready = deferred<undefined>();
  readonly #exited = deferred<TerminalExit | undefined>();
  readonly #chunks: Uint8Array[] = [];
  readonly #stop = new AbortController();
  #wake: (() => void) | undefined;
  #socket: WebSocketLike | undefined;
  #cursor: number;
  /** Output of a later connection before its `ready`, which says where it begins. */
  #replay: Uint8Array[] | undefined;
  #isReady = false;
  #reads = false;
  #size: { cols?: number; rows?: number };
  #failures = 0;

  constructor(
    private readonly open: (query: Query) => WebSocketLike,
    private readonly options: AttachOptions,
  ) {
    this.#cursor = options.cursor ?? 0;
    this.#size = { ...(options.cols ? { cols: options.cols } : {}), ...(options.rows ? { rows: options.rows } : {}) };
    this.#connect();
  }

  /** Resolves when the first connection stands and what was kept has been shown. */
  get ready(): Promise<undefined> {
    return this.#ready.promise;
  }

  /** How the program ended; undefined if the viewer was closed first. */
  get exited(): Promise<TerminalExit | undefined> {
    return this.#exited.promise;
  }

  /** Bytes of output so far, as AttachOptions.cursor takes it. */
  get cursor(): number {
    return this.#cursor;
  }

  /** Types. A key is a byte: text is sent as UTF-8. False: it is not connected, and nothing was sent. */
  write(data: string | Uint8Array): boolean {
    return this.#send(typeof data === "string" ? utf8(data) : data);
  }

  resize(cols: number, rows: number): boolean {
    this.#size = { cols, rows };
    return this.#send(JSON.stringify({ type: "resize", cols, rows }));
  }

  /** To what runs in the foreground, e.g. "SIGINT". */
  sendSignal(signal: string): boolean {
    return this.#send(JSON.stringify({ type: "signal", signal }));
  }

  /** Ends the viewer; the terminal goes on. */
  close(): void {
    this.#finish(undefined);
    this.#socket?.close(1000);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    this.#reads = true;
    for (;;) {
      const chunk = this.#chunks.shift();
      if (chunk) yield chunk;
      else if (this.#stop.signal.aborted) return;
      else await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  #send(data: string | Uint8Array): boolean {
    if (this.#socket?.readyState !== 1) return false;
    this.#socket.send(data);
    return true;
  }

  #connect(): void {
    const { readOnly } = this.options;
    this.options.onStateChange?.("connecting");
    this.#replay = this.#isReady ? [] : undefined;
    const socket = this.open({ ...this.#size, readOnly: readOnly ? 1 : undefined, cursor: this.#cursor || undefined });
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    socket.addEventListener("message", ({ data }) => {
      if (typeof data === "string") this.#control(JSON.parse(data) as { type: string; message?: string; cursor?: number } & Partial<TerminalExit>);
      else this.#take(bytesOf(data));
    });
    socket.addEventListener("error", () => undefined); // close follows
    socket.addEventListener("close", (event) => {
      if (socket === this.#socket) this.#lost(event.code, event.reason);
    });
  }

  #take(data: Uint8Array): void {
    if (this.#replay) {
      this.#replay.push(data);
      return;
    }
    if (this.#isReady) this.#cursor += data.length;
    this.#show(data);
  }

  #show(data: Uint8Array): void {
    this.options.onData?.(data);
    if (this.options.onData && !this.#reads) return;
    this.#chunks.push(data);
    this.#wake?.();
  }

  #control(message: { type: string; message?: string; cursor?: number } & Partial<TerminalExit>): void {
    if (message.type === "ready") {
      for (const chunk of this.#replay ?? []) this.#show(chunk);
      this.#replay = undefined;
      this.#cursor = message.cursor ?? this.#cursor;
      this.#isReady = true;
      this.#failures = 0;
      this.options.onStateChange?.("connected");
      this.#ready.resolve(undefined);
    } else if (message.type === "exit") {
      for (const chunk of this.#replay ?? []) this.#show(chunk);
      this.#ready.resolve(undefined);
      const exit = { code: message.code ?? 0, ...(message.signal === undefined ? {} : { signal: message.signal }) };
      this.options.onExit?.(exit);
      this.#finish(exit);
    } else if (message.type === "error") {
      this.options.onError?.(message.message ?? "unknown error");
    }
  }

  #finish(exit: TerminalExit | undefined): void {
    this.#exited.resolve(exit);
    this.#ready.reject(new CellboxError("the viewer was closed", "CLOSED", 0));
    this.#stop.abort();
    this.#wake?.();
  }

  #lost(code: number, reason: string): void {
    this.#socket = undefined;
    this.options.onStateChange?.("disconnected");
    if (this.#stop.signal.aborted) return;
    const again = this.options.reconnect !== false && (this.#isReady || this.#failures > 0);
    if (!again || ++this.#failures > 8) {
      const error = new ConnectionError(`the terminal's connection ended (${code}${reason && `: ${reason}`})`);
      this.#ready.reject(error);
      this.#exited.reject(error);
      this.#stop.abort();
      this.#wake?.();
      return;
    }
    sleep(pauseBefore(this.#failures, {}), this.#stop.signal).then(
      () => { this.#connect(); },
      () => undefined,
    );
  }
}
