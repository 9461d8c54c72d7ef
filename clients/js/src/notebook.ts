/** Notebooks: run whole. docs/api.md, "Run a notebook". */
import type { Box } from "./box.js";
import { ConnectionError } from "./errors.js";
import { openEvents } from "./stream.js";

/** nbformat 4. */
export interface Notebook {
  nbformat: number;
  cells: { cell_type: string; source: string | string[]; [member: string]: unknown }[];
  [member: string]: unknown;
}

export interface CellDone {
  /** Index in the notebook. */
  index: number;
  /** Code cells done so far. */
  done: number;
  status: "ok" | "error";
  executionCount: number;
  durationMs: number;
  /** nbformat outputs. */
  outputs: unknown[];
}

export interface NotebookOptions {
  /** Assigned in a cell behind the one tagged "parameters". */
  parameters?: Record<string, unknown>;
  /** Default: what the notebook's metadata say. */
  language?: string;
  cwd?: string;
  env?: Record<string, string>;
  /** Time limit of one cell in milliseconds. */
  timeout?: number;
  /** Go on after a cell that fails. Default false. */
  allowErrors?: boolean;
  onCellStarted?: (cell: { index: number; done: number; cells: number }) => void;
  onCellDone?: (cell: CellDone) => void;
  /** Aborting ends the run. */
  signal?: AbortSignal;
}

export interface NotebookResult {
  status: "ok" | "error";
  /** Code cells that are not empty. */
  cells: number;
  executed: number;
  /** With its outputs. */
  notebook: Notebook;
  /** Of the cell that ended the run; `cell` is its index. */
  error?: { cell: number; name?: string; message?: string };
}

export async function executeNotebook(box: Box, notebook: Notebook, options: NotebookOptions): Promise<NotebookResult> {
  const { parameters, language, cwd, env, timeout, allowErrors, signal } = options;
  const json = { notebook, parameters, language, cwd, env, timeout, allowErrors };
  await box.need(() => Promise.resolve());
  const events = openEvents(box.connection, { method: "POST", path: `${box.base}/notebooks:execute`, json, idempotent: false, signal });
  for await (const { event } of events) {
    if (event.type === "cell_started") {
      options.onCellStarted?.(event as unknown as { index: number; done: number; cells: number });
    } else if (event.type === "cell_done") {
      options.onCellDone?.(event as unknown as CellDone);
    } else if (event.type === "done") {
      const { status, cells, executed, error, notebook: done } = event as unknown as NotebookResult;
      return { status, cells, executed, notebook: done, ...(error ? { error } : {}) };
    }
  }
  throw new ConnectionError("the connection ended before the notebook did");
}
