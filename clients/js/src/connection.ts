/** One server: where it is, the token, and how calls are sent, repeated and read. */
import { CellboxError, ConnectionError, errorFromBody } from "./errors.js";
import { mayRepeat, pauseBefore, sleep, type RetryOptions } from "./retry.js";
import type { WebSocketConstructor } from "./websocket.js";

export interface ConnectionOptions {
  /** Address of the server. Default: CELLBOX_URL of the environment, else http://127.0.0.1:8888. */
  url?: string;
  /** Its token. Default: CELLBOX_TOKEN of the environment. */
  token?: string;
  /** What sends requests. Default: globalThis.fetch. */
  fetch?: typeof fetch;
  /** What opens WebSockets, for terminals. Default: globalThis.WebSocket; on Node 20 give that of the package `ws`. */
  WebSocket?: WebSocketConstructor;
  /** How calls are repeated; see RetryOptions. */
  retry?: RetryOptions;
  /** Aborts every call, on top of the signals that calls have of their own. */
  signal?: AbortSignal;
}

export type Query = Record<string, string | number | boolean | readonly string[] | undefined>;

/** One call. `idempotent` says that sending it twice does no harm. */
export interface Call {
  method: "GET" | "HEAD" | "PUT" | "POST" | "PATCH" | "DELETE";
  path: string;
  query?: Query;
  json?: object;
  body?: BodyInit | undefined;
  headers?: Record<string, string>;
  idempotent: boolean;
  signal?: AbortSignal | undefined;
}

function environment(name: string): string | undefined {
  const host = globalThis as { process?: { env?: Record<string, string | undefined> } };
  return host.process?.env?.[name];
}

function queryText(query: Query | undefined): string {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value === undefined) continue;
    for (const item of Array.isArray(value) ? (value as readonly string[]) : [value as string | number | boolean])
      parameters.append(name, String(item));
  }
  const text = parameters.toString();
  return text && `?${text}`;
}

/** Sends calls to one server. */
export class Connection {
  readonly url: string;
  readonly retry: RetryOptions;
  readonly signal: AbortSignal | undefined;
  readonly #options: ConnectionOptions;
  readonly #token: string | undefined;
  readonly #fetch: typeof fetch;
  readonly #WebSocket: WebSocketConstructor | undefined;

  constructor(options: ConnectionOptions = {}) {
    this.url = (options.url ?? environment("CELLBOX_URL") ?? "http://127.0.0.1:8888").replace(/\/+$/, "");
    this.retry = options.retry ?? {};
    this.signal = options.signal;
    this.#options = options;
    this.#token = options.token ?? environment("CELLBOX_TOKEN");
    const send = options.fetch ?? globalThis.fetch;
    this.#fetch = send.bind(globalThis);
    this.#WebSocket = options.WebSocket ?? (globalThis as { WebSocket?: WebSocketConstructor }).WebSocket;
  }

  /** The same server, with another signal for every call, or none. */
  withSignal(signal: AbortSignal | undefined): Connection {
    const options = { ...this.#options };
    delete options.signal;
    return new Connection(signal ? { ...options, signal } : options);
  }

  /** What aborts a call: its own signal, or that of all calls. */
  signalOf(own: AbortSignal | undefined): AbortSignal | undefined {
    return own && this.signal ? anySignal(own, this.signal) : (own ?? this.signal);
  }

  /** The answer of a call, its body unread. Throws CellboxError on every status that is no success. */
  async send(asked: Call): Promise<Response> {
    const call = { ...asked, signal: this.signalOf(asked.signal) };
    for (let attempt = 1; ; attempt++) {
      let retryAfter: string | null = null;
      try {
        const response = await this.#once(call);
        if (response.ok || response.status === 304) return response;
        retryAfter = response.headers.get("retry-after");
        throw errorFromBody(response.status, await response.text().catch(() => ""));
      } catch (error) {
        if (attempt > (this.retry.retries ?? 4) || !mayRepeat(error, call.idempotent) || isOneWay(call.body)) throw error;
      }
      await sleep(pauseBefore(attempt, this.retry, retryAfter), call.signal);
    }
  }

  /** The JSON body of a call's answer. */
  async json<T>(call: Call): Promise<T> {
    const response = await this.send(call);
    try {
      return (await response.json()) as T;
    } catch (error) {
      this.signalOf(call.signal)?.throwIfAborted();
      throw new ConnectionError("the answer broke off", error);
    }
  }

  /** A call whose answer has no body. */
  async done(call: Call): Promise<void> {
    const response = await this.send(call);
    await response.body?.cancel();
  }

  /** Opens a WebSocket; browsers cannot set headers there, so the token is in the address. */
  openWebSocket(path: string, query: Query): InstanceType<WebSocketConstructor> {
    if (!this.#WebSocket)
      throw new TypeError('there is no WebSocket here: give one, e.g. import { WebSocket } from "ws"; getSandbox(name, { WebSocket })');
    return new this.#WebSocket(this.#webSocketUrl(path, query));
  }

  #webSocketUrl(path: string, query: Query): string {
    return this.url.replace(/^http/, "ws") + path + queryText({ ...query, token: this.#token });
  }

  async #once(call: Call): Promise<Response> {
    const headers: Record<string, string> = { ...call.headers };
    if (this.#token !== undefined) headers["Authorization"] = `Bearer ${this.#token}`;
    if (call.json) headers["Content-Type"] = "application/json";
    const init: RequestInit & { duplex?: "half" } = { method: call.method, headers };
    const body = call.json ? JSON.stringify(call.json) : call.body;
    if (body !== undefined) init.body = body;
    if (isOneWay(body)) init.duplex = "half";
    if (call.signal) init.signal = call.signal;
    try {
      return await this.#fetch(this.url + call.path + queryText(call.query), init);
    } catch (error) {
      call.signal?.throwIfAborted();
      if (error instanceof CellboxError) throw error;
      throw new ConnectionError(`${call.method} ${this.url + call.path} failed: ${String((error as Error).cause ?? error)}`, error);
    }
  }
}

/** Aborted as soon as one of both is. */
/** Aborts with the first of them. */
export function anySignal(one: AbortSignal, other: AbortSignal): AbortSignal {
  const any = AbortSignal as unknown as { any?: (signals: AbortSignal[]) => AbortSignal };
  if (any.any) return any.any([one, other]);
  const both = new AbortController(); // before Node 20.3
  for (const signal of [one, other]) {
    if (signal.aborted) both.abort(signal.reason);
    signal.addEventListener("abort", () => { both.abort(signal.reason); }, { once: true, signal: both.signal });
  }
  return both.signal;
}

/** A stream can be sent only once. */
function isOneWay(body: unknown): boolean {
  return typeof ReadableStream !== "undefined" && body instanceof ReadableStream;
}
