/** One sandbox as the other modules see it: its address, and that it is made when it is first needed. */
import type { Call, Connection } from "./connection.js";
import type { EgressPolicy } from "./egress.js";
import { SandboxNotFoundError } from "./errors.js";

/** What a sandbox is made with; docs/api.md, `PUT /v1/sandboxes/{name}`. */
export interface SandboxOptions {
  /** Name or sha256 of an image. */
  image?: string;
  /** Environment variables of everything that starts in it. */
  env?: Record<string, string>;
  labels?: Record<string, string>;
  limits?: Limits;
  /** CPUs, memory and disk by a name: lite, basic, standard-1 to standard-4; limits win. */
  instanceType?: string;
  /** It sleeps when nothing goes on for so long: milliseconds, or "30s", "10m", "1h"; 0 is never. Its disk stays. */
  sleepAfter?: number | string;
  /** Never sleeps. */
  keepAlive?: boolean;
  /** What it may reach. */
  egress?: EgressPolicy;
}

/** memory and disk in bytes, cpu in CPUs, pids in processes and threads. */
export interface Limits {
  memory?: number;
  cpu?: number;
  pids?: number;
  /** Of what is written. Only a sandbox that was made with one has it; it can be changed. */
  disk?: number;
}

/** What a sandbox uses. */
export interface Usage {
  state: SandboxInfo["state"];
  /** CPU time in milliseconds, of its whole life. */
  activeCpuMs: number;
  /** Memory times time, of its whole life, by samples. */
  memoryGiBSeconds: number;
  memoryBytes: number;
  processes: number;
  /** Since it was started. */
  oomKills: number;
  /** What it has written and not deleted; absent if the files could not be counted in time. */
  diskBytes?: number;
  /** To and from the world, since it exists. */
  egressBytes: number;
}

/** State of a sandbox. */
export interface SandboxInfo {
  name: string;
  state: "stopped" | "starting" | "running" | "failed";
  image: string;
  env: Record<string, string>;
  labels: Record<string, string>;
  /** memory in bytes; cpu in CPUs, 0 is unlimited; pids in processes and threads; disk in bytes, absent: none. */
  limits: { memory: number; cpu: number; pids: number; disk?: number };
  /** Milliseconds; absent if it never sleeps. */
  sleepAfter?: number;
  keepAlive: boolean;
  /** Number of code contexts. */
  contexts: number;
  createdAt: Date;
  lastUsedAt: Date;
  /** Why it failed to start. */
  error?: { step: string; message: string };
}

type WireInfo = Omit<SandboxInfo, "createdAt" | "lastUsedAt"> & { createdAt: string; lastUsedAt: string };

export function infoOf(wire: WireInfo): SandboxInfo {
  return { ...wire, createdAt: new Date(wire.createdAt), lastUsedAt: new Date(wire.lastUsedAt) };
}

export class Box {
  readonly base: string;
  #made: Promise<SandboxInfo> | undefined;

  constructor(
    readonly connection: Connection,
    readonly name: string,
    private readonly options: SandboxOptions,
  ) {
    this.base = `/v1/sandboxes/${encodeURIComponent(name)}`;
  }

  /** The same sandbox, whose calls are aborted by another signal, or by none. */
  withSignal(signal: AbortSignal | undefined): Box {
    return new Box(this.connection.withSignal(signal), this.name, this.options);
  }

  /** Makes and starts it; concurrent callers share one request. */
  start(): Promise<SandboxInfo> {
    this.#made ??= this.connection
      .json<WireInfo>({ method: "PUT", path: this.base, json: this.options, idempotent: true })
      .then(infoOf)
      .catch((error: unknown) => {
        this.#made = undefined;
        throw error;
      });
    return this.#made;
  }

  /** The next call makes it anew. */
  forget(): void {
    this.#made = undefined;
  }

  async info(signal?: AbortSignal): Promise<SandboxInfo> {
    return infoOf(await this.connection.json<WireInfo>({ method: "GET", path: this.base, idempotent: true, signal }));
  }

  async patch(json: object): Promise<SandboxInfo> {
    return infoOf(await this.need(() => this.connection.json<WireInfo>({ method: "PATCH", path: this.base, json, idempotent: true })));
  }

  /** A call below the sandbox, which is made if there is none. */
  json<T>(call: Call): Promise<T> {
    return this.need(() => this.connection.json<T>(call));
  }

  send(call: Call): Promise<Response> {
    return this.need(() => this.connection.send(call));
  }

  done(call: Call): Promise<void> {
    return this.need(() => this.connection.done(call));
  }

  /**
   * Runs what needs the sandbox. Options of the caller are put before the first use; a sandbox that is not there
   * (any more) is made, and the call, which has done nothing, is sent again.
   */
  async need<T>(work: () => Promise<T>): Promise<T> {
    if (Object.keys(this.options).length > 0) await this.start();
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof SandboxNotFoundError)) throw error;
      this.forget();
      await this.start();
      return await work();
    }
  }
}
