/** Persistent shells: directory, variables, functions and jobs last from one script to the next. */
import type { Box } from "./box.js";
import { execEvents, execToEnd, type ExecCallbacks, type ExecEvent, type ExecResult, type OutputBound, type ScriptOptions } from "./commands.js";
import { commandBody } from "./commands.js";

export interface SessionOptions {
  /** 1-64 of A-Z a-z 0-9 . _ -; made up by the server if absent. */
  id?: string;
  /** Default /workspace. */
  cwd?: string;
  env?: Record<string, string>;
}

export interface SessionInfo {
  id: string;
  status: "running" | "ended";
  pid?: number;
  cwd: string;
  createdAt: Date;
  /** How often its shell has been replaced after its end. */
  restarts: number;
}

type WireSession = Omit<SessionInfo, "createdAt"> & { createdAt: string };

function sessionInfo(wire: WireSession): SessionInfo {
  return { ...wire, createdAt: new Date(wire.createdAt) };
}

/** A persistent shell. Scripts take turns; a stuck one is cancelled by timeout or signal and the shell lives on. */
export class ExecutionSession {
  readonly #where: string;

  constructor(
    private readonly box: Box,
    readonly id: string,
  ) {
    this.#where = `/sessions/${encodeURIComponent(id)}`;
  }

  /**
   * Runs a script in the shell.
   * @throws SessionNotFoundError if it was deleted.
   */
  exec(script: string, options: ScriptOptions & ExecCallbacks & OutputBound = {}): Promise<ExecResult> {
    return execToEnd(this.box, `${this.#where}/exec`, commandBody(script, options), options);
  }

  /** The same as events: start, stdout, stderr, complete. Leaving the loop cancels the script. */
  execStream(script: string, options: ScriptOptions = {}): AsyncGenerator<ExecEvent, void, undefined> {
    return execEvents(this.box, `${this.#where}/exec`, commandBody(script, options), options.signal);
  }

  async info(): Promise<SessionInfo> {
    return sessionInfo(await this.box.json<WireSession>({ method: "GET", path: this.box.base + this.#where, idempotent: true }));
  }

  /** Ends the shell and everything in it. */
  delete(): Promise<void> {
    return this.box.done({ method: "DELETE", path: this.box.base + this.#where, idempotent: true });
  }
}

export async function createSession(box: Box, options: SessionOptions): Promise<ExecutionSession> {
  const made = await box.json<WireSession>({ method: "POST", path: `${box.base}/sessions`, json: options, idempotent: false });
  return new ExecutionSession(box, made.id);
}

export async function listSessions(box: Box): Promise<SessionInfo[]> {
  const answer = await box.json<{ sessions: WireSession[] }>({ method: "GET", path: `${box.base}/sessions`, idempotent: true });
  return answer.sessions.map(sessionInfo);
}
