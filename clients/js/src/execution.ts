/** What running code gives: results with whole MIME bundles, output, error. docs/api.md, "Run code". */
import { fromBase64 } from "./encoding.js";
import type { WireEvent } from "./stream.js";

/** A MIME bundle: text as text, images as base64, JSON as values. */
export type MimeBundle = Readonly<Record<string, unknown>>;

interface WireResult {
  isMainResult: boolean;
  data: MimeBundle;
  metadata?: Record<string, unknown>;
  displayId?: string;
}

/** One display or value: every form that the code gave of it. */
export class Result {
  /** The value of the last expression, not a display. */
  readonly isMainResult: boolean;
  data: MimeBundle;
  metadata: Readonly<Record<string, unknown>>;
  /** Of a display that may be updated; it appears once, in its last form. */
  readonly displayId?: string;

  constructor(wire: WireResult) {
    this.isMainResult = wire.isMainResult;
    this.data = wire.data;
    this.metadata = wire.metadata ?? {};
    if (wire.displayId !== undefined) this.displayId = wire.displayId;
  }

  /** text/plain */
  get text(): string | undefined {
    return this.#text("text/plain");
  }
  get html(): string | undefined {
    return this.#text("text/html");
  }
  /** image/png in base64; bytes("image/png") gives bytes. */
  get png(): string | undefined {
    return this.#text("image/png");
  }
  /** image/jpeg in base64. */
  get jpeg(): string | undefined {
    return this.#text("image/jpeg");
  }
  get svg(): string | undefined {
    return this.#text("image/svg+xml");
  }
  /** application/pdf in base64. */
  get pdf(): string | undefined {
    return this.#text("application/pdf");
  }
  get latex(): string | undefined {
    return this.#text("text/latex");
  }
  get markdown(): string | undefined {
    return this.#text("text/markdown");
  }
  get javascript(): string | undefined {
    return this.#text("application/javascript") ?? this.#text("text/javascript");
  }
  /** application/json, as a value. */
  get json(): unknown {
    return this.data["application/json"];
  }

  /** MIME types, in the order in which the code gave them. */
  formats(): string[] {
    return Object.keys(this.data);
  }

  /** Bytes of a base64 form, such as image/png. */
  bytes(mime: string): Uint8Array | undefined {
    const text = this.#text(mime);
    return text === undefined ? undefined : fromBase64(text);
  }

  toJSON(): object {
    const { isMainResult, data, metadata, displayId } = this;
    return { isMainResult, data, metadata, ...(displayId === undefined ? {} : { displayId }) };
  }

  #text(mime: string): string | undefined {
    const value = this.data[mime];
    return typeof value === "string" ? value : undefined;
  }
}

/** Why code failed; it is part of the Execution and never thrown. */
export interface ExecutionError {
  /** EXCEPTION: the code raised; others: TIMEOUT, CONTEXT_DIED, OUT_OF_MEMORY, … (docs/api.md). */
  code: string;
  name: string;
  message: string;
  traceback: string[];
  details?: Record<string, unknown>;
}

export interface OutputMessage {
  text: string;
  /** RFC 3339, UTC. */
  timestamp: string;
}

export interface Timing {
  queuedAt: string;
  startedAt?: string;
  endedAt?: string;
  /** Milliseconds. */
  durationMs?: number;
}

export interface ExecutionInfo {
  id: string;
  sandbox?: string;
  /** Id of the context. */
  context?: string;
  status: "queued" | "running" | "ok" | "error" | "aborted";
  executionCount: number;
  timing: Timing;
  /** The context had died before this run, and its variables were lost; `reason` says why it died. */
  contextRestarted?: boolean;
  reason?: string;
  /** Output over the server's bound was not kept. */
  truncated?: boolean;
}

export interface WireExecution extends ExecutionInfo {
  code: string;
  results: WireResult[];
  logs: { stdout: string[]; stderr: string[] };
  error?: ExecutionError;
}

/** A run and everything that it gave. */
export class Execution {
  readonly id: string;
  readonly code: string;
  /** Id of the context. */
  readonly context: string | undefined;
  readonly status: ExecutionInfo["status"];
  readonly executionCount: number;
  readonly results: Result[];
  /** In the pieces in which it came. */
  readonly logs: { stdout: string[]; stderr: string[] };
  readonly error?: ExecutionError;
  readonly timing: Timing;
  readonly contextRestarted: boolean;
  readonly reason?: string;
  readonly truncated: boolean;

  constructor(wire: Omit<WireExecution, "results">, results: Result[]) {
    this.id = wire.id;
    this.code = wire.code;
    this.context = wire.context;
    this.status = wire.status;
    this.executionCount = wire.executionCount;
    this.results = results;
    this.logs = wire.logs;
    if (wire.error) this.error = wire.error;
    this.timing = wire.timing;
    this.contextRestarted = wire.contextRestarted ?? false;
    if (wire.reason !== undefined) this.reason = wire.reason;
    this.truncated = wire.truncated ?? false;
  }

  /** The value of the last expression. */
  get result(): Result | undefined {
    return this.results.find((result) => result.isMainResult);
  }

  /** Its text form. */
  get text(): string | undefined {
    return this.result?.text;
  }

  toJSON(): object {
    return Object.fromEntries(Object.entries(this));
  }
}

export function executionOf(wire: WireExecution): Execution {
  return new Execution(wire, wire.results.map((result) => new Result(result)));
}

/** What a run hands over as it happens. */
export interface RunCallbacks {
  onStdout?: (output: OutputMessage) => void;
  onStderr?: (output: OutputMessage) => void;
  /** Displays and the value of the last expression; an updated display comes again, with the same displayId. */
  onResult?: (result: Result) => void;
  onError?: (error: ExecutionError) => void;
  /** The server has something to say, e.g. that variables were lost. */
  onNotice?: (text: string) => void;
}

/** Puts an Execution together from its events, as the server does. */
export class ExecutionBuilder {
  readonly #results: Result[] = [];
  readonly #logs = { stdout: [] as string[], stderr: [] as string[] };
  #raised: ExecutionError | undefined;
  #typed: ExecutionError | undefined;
  #end: WireEvent | undefined;
  id = "";

  constructor(
    private readonly code: string,
    private readonly callbacks: RunCallbacks,
  ) {}

  take(event: WireEvent): void {
    this.id = event["executionId"] as string;
    switch (event.type) {
      case "stdout":
      case "stderr":
        this.#output(event.type, event);
        break;
      case "display":
      case "result":
        this.#display(new Result(event as unknown as WireResult));
        break;
      case "update_display":
        this.#update(event);
        break;
      case "error": {
        const { code, name, message, traceback, details } = event as unknown as ExecutionError;
        const error = { code, name, message, traceback, ...(details ? { details } : {}) };
        if (code === "EXCEPTION") this.#raised = error;
        else this.#typed ??= error;
        break;
      }
      case "notice":
        this.callbacks.onNotice?.(event["text"] as string);
        break;
      case "done":
        this.#end = event;
        if (this.#error) this.callbacks.onError?.(this.#error);
        break;
    }
  }

  /** The server's reason (TIMEOUT…) if there is one, with the traceback of what the code raised then. */
  get #error(): ExecutionError | undefined {
    return this.#typed && this.#raised ? { ...this.#typed, traceback: this.#raised.traceback } : (this.#typed ?? this.#raised);
  }

  /** undefined: it has not ended. */
  finish(): Execution | undefined {
    if (!this.#end) return undefined;
    const { executionId, ...head } = this.#end as unknown as ExecutionInfo & { executionId: string };
    const error = this.#error;
    const wire = { ...head, id: executionId, code: this.code, logs: this.#logs, ...(error ? { error } : {}) };
    return new Execution(wire, this.#results);
  }

  #output(stream: "stdout" | "stderr", event: WireEvent): void {
    const text = event["text"] as string;
    this.#logs[stream].push(text);
    this.callbacks[stream === "stdout" ? "onStdout" : "onStderr"]?.({ text, timestamp: event.timestamp });
  }

  #display(result: Result): void {
    this.#results.push(result);
    this.callbacks.onResult?.(result);
  }

  #update(event: WireEvent): void {
    const update = new Result({ ...(event as unknown as WireResult), isMainResult: false });
    for (const shown of this.#results) {
      if (shown.displayId === undefined || shown.displayId !== update.displayId) continue;
      shown.data = update.data;
      shown.metadata = update.metadata;
    }
    this.callbacks.onResult?.(update);
  }
}
