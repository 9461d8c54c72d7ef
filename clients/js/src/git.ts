/** Repositories: POST …/git:checkout. docs/git.md. */
import type { Box } from "./box.js";
import { ConnectionError } from "./errors.js";
import { errorOfEvent, openEvents } from "./stream.js";

/** What one step of a checkout has done so far. */
export interface GitProgress {
  /** As git calls it, e.g. "Receiving objects". */
  phase: string;
  /** 0 to 100. */
  percent: number;
  current: number;
  total: number;
}

/** For the repository's host alone, over http or https. Never in an argument, an environment, a file or a log. */
export type GitCredentials = { username?: string; password: string } | { username?: string; token: string };

export interface GitCheckoutOptions {
  /** A branch or a tag; the remote's default without it. */
  branch?: string;
  /** Where to; by default a directory of the repository's name. Relative paths lie below cwd. It must not hold anything. */
  targetDir?: string;
  /** Default /workspace. */
  cwd?: string;
  /** Only so many commits. */
  depth?: number;
  /** Time limit in milliseconds; default 600000. */
  cloneTimeoutMs?: number;
  credentials?: GitCredentials;
  onProgress?: (progress: GitProgress) => void;
  /** Aborting ends git, and what it has made goes. */
  signal?: AbortSignal;
}

export interface GitCheckoutResult {
  success: true;
  /** Without user and password. */
  repoUrl: string;
  /** Absent when the repository is empty and has none. */
  branch?: string;
  /** Absolute. */
  targetDir: string;
  /** Absent when the repository is empty. */
  commit?: string;
}

export async function gitCheckout(box: Box, url: string, options: GitCheckoutOptions): Promise<GitCheckoutResult> {
  const { branch, targetDir, cwd, depth, cloneTimeoutMs, credentials, onProgress, signal } = options;
  const json = { url, branch, targetDir, cwd, depth, timeout: cloneTimeoutMs, credentials };
  const call = { method: "POST", path: `${box.base}/git:checkout`, json, idempotent: false, signal } as const;
  const events = openEvents(box.connection, call);
  const first = await box.need(() => events.next());
  try {
    for (let head = first; !head.done; head = await events.next()) {
      const { event } = head.value;
      if (event.type === "error") throw errorOfEvent(event);
      if (event.type === "complete") return resultOf(event);
      if (event.type === "progress") onProgress?.(event as unknown as GitProgress);
    }
  } finally {
    await events.return(undefined);
  }
  throw new ConnectionError("the connection ended before the checkout did");
}

function resultOf(event: Record<string, unknown>): GitCheckoutResult {
  const { repoUrl, branch, targetDir, commit } = event as unknown as GitCheckoutResult;
  return { success: true, repoUrl, ...(branch && { branch }), targetDir, ...(commit && { commit }) };
}
