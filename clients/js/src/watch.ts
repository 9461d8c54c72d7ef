/** Changes of files. docs/files.md. */
import type { Box } from "./box.js";
import type { Call } from "./connection.js";
import { CellboxError, ConnectionError } from "./errors.js";
import { pauseBefore, sleep } from "./retry.js";
import { openEvents, type NumberedEvent } from "./stream.js";

export interface WatchOptions {
  /** Default true. */
  recursive?: boolean;
  /** Globs of what is told; none: everything. */
  include?: readonly string[];
  /** Globs of what is not. Default .git, node_modules, .DS_Store. */
  exclude?: readonly string[];
  /** Milliseconds in which changes of one file are told as one. Default 0. */
  coalesce?: number;
  user?: "user" | "root";
  /** Go on behind this cursor of an earlier watch; 410 WATCH_EXPIRED if that is over. */
  since?: string;
  signal?: AbortSignal;
}

/**
 * A change. `resync`: changes were lost (reason: overflow, slow, expired), so look for yourself.
 * `stopped`: the directory or the sandbox is gone; nothing follows.
 */
export interface WatchEvent {
  type: "create" | "modify" | "delete" | "rename" | "attributes" | "resync" | "stopped";
  timestamp: string;
  path?: string;
  /** Of a rename: where it was. */
  oldPath?: string;
  isDirectory?: boolean;
  reason?: string;
}

/** A watch that is established. Leaving the loop, or close(), ends it. */
export class Watcher implements AsyncIterable<WatchEvent> {
  #cursor: string;
  #events: AsyncGenerator<NumberedEvent, void, undefined>;
  readonly #stop = new AbortController();
  readonly #aborted: () => boolean;
  readonly #generator: AsyncGenerator<WatchEvent, void, undefined>;

  private constructor(
    private readonly box: Box,
    private readonly options: WatchOptions,
    /** Absolute path of what is watched. */
    readonly path: string,
  ) {
    this.#cursor = options.since ?? "";
    this.#events = this.#open();
    const signal = box.connection.signalOf(options.signal);
    signal?.addEventListener("abort", () => { this.#stop.abort(signal.reason); }, { once: true });
    this.#aborted = (): boolean => signal?.aborted === true;
    this.#generator = this.#run();
  }

  /** Resolves once changes are seen. */
  static async start(box: Box, path: string, options: WatchOptions): Promise<Watcher> {
    box.connection.signalOf(options.signal)?.throwIfAborted();
    const watcher = new Watcher(box, options, path);
    await box.need(async () => {
      watcher.#events = watcher.#open();
      await watcher.#established();
    });
    return watcher;
  }

  /** Where another watch would go on; see WatchOptions.since. */
  get cursor(): string {
    return this.#cursor;
  }

  close(): void {
    this.#stop.abort(new DOMException("the watch was closed", "AbortError"));
  }

  [Symbol.asyncIterator](): AsyncGenerator<WatchEvent, void, undefined> {
    return this.#generator;
  }

  #open(): AsyncGenerator<NumberedEvent, void, undefined> {
    const { recursive, include, exclude, coalesce, user } = this.options;
    const query = { path: this.path, recursive, include, exclude, coalesce, user };
    const headers: Record<string, string> = this.#cursor ? { "Last-Event-ID": this.#cursor } : {};
    const call: Call = { method: "GET", path: `${this.box.base}/watch`, query, headers, idempotent: true, signal: this.#stop.signal };
    return openEvents(this.box.connection, call);
  }

  /** The first event of a connection says that it watches. */
  async #established(): Promise<void> {
    const first = await this.#events.next();
    if (first.done) throw new ConnectionError("the watch ended before it began");
    this.#cursor = first.value.id || this.#cursor;
  }

  async *#run(): AsyncGenerator<WatchEvent, void, undefined> {
    try {
      for (;;) {
        try {
          for await (const { event, id } of this.#events) {
            this.#cursor = id || this.#cursor;
            if (event.type !== "watching") yield event as unknown as WatchEvent;
            if (event.type === "stopped") return;
          }
        } catch (error) {
          if (!(error instanceof ConnectionError)) throw error;
        }
        const lost = await this.#again();
        if (lost) yield { type: "resync", timestamp: new Date().toISOString(), reason: lost };
      }
    } catch (error) {
      if (!this.#stop.signal.aborted || this.#aborted()) throw error;
    } finally {
      this.close();
    }
  }

  /** Connects again behind the last event; why there is a gap, if there is one. */
  async #again(): Promise<string | undefined> {
    await sleep(pauseBefore(1, this.box.connection.retry), this.#stop.signal);
    this.#events = this.#open();
    try {
      await this.#established();
      return undefined;
    } catch (error) {
      if (!(error instanceof CellboxError) || error.status !== 410) throw error;
    }
    this.#cursor = "";
    this.#events = this.#open();
    await this.#established();
    return "expired";
  }
}
