/**
 * When a call may be repeated. A repeated call must never do its work twice, so:
 * - reading and idempotent calls are repeated after a broken connection and after 429, 502, 503, 504;
 * - everything else only where nothing can have begun: the connection was refused, 429, or 503 STARTING.
 */
import { CellboxError, ConnectionError } from "./errors.js";

export interface RetryOptions {
  /** Attempts after the first one; 0 turns retries off. Default 4. */
  retries?: number;
  /** First pause in milliseconds; it doubles up to maxDelay. Default 200. */
  delay?: number;
  /** Longest pause in milliseconds. Default 5000. */
  maxDelay?: number;
}

const REPEATABLE = new Set([429, 502, 503, 504]);

function refused(error: ConnectionError): boolean {
  for (let cause: unknown = error.cause; typeof cause === "object" && cause !== null; cause = (cause as { cause?: unknown }).cause)
    if ((cause as { code?: unknown }).code === "ECONNREFUSED") return true;
  return false;
}

/** Whether a call that failed so may be sent again. */
export function mayRepeat(error: unknown, idempotent: boolean): boolean {
  if (error instanceof ConnectionError) return idempotent || refused(error);
  if (!(error instanceof CellboxError)) return false;
  if (idempotent) return REPEATABLE.has(error.status);
  return error.status === 429 || (error.status === 503 && error.code === "STARTING");
}

/** Pause before attempt `attempt` (1 is the first repetition), in milliseconds; half of it is random. */
export function pauseBefore(attempt: number, options: RetryOptions, retryAfter?: string | null): number {
  const seconds = retryAfter ? Number(retryAfter) : NaN;
  const limit = options.maxDelay ?? 5000;
  if (Number.isFinite(seconds) && seconds >= 0) return Math.min(seconds * 1000, 60_000);
  const full = Math.min(limit, (options.delay ?? 200) * 2 ** (attempt - 1));
  return full / 2 + (Math.random() * full) / 2;
}

/** Resolves after ms; rejects with the signal's reason when that is aborted first. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason as Error);
      return;
    }
    const stop = (): void => {
      clearTimeout(timer);
      reject(signal?.reason as Error);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, ms);
    signal?.addEventListener("abort", stop, { once: true });
  });
}
