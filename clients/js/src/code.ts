/** Code contexts: interpreters with state. docs/api.md. */
import type { Box } from "./box.js";
import type { Call } from "./connection.js";
import { ConnectionError } from "./errors.js";
import { executionOf, ExecutionBuilder, type Execution, type ExecutionInfo, type RunCallbacks, type WireExecution } from "./execution.js";
import { resumeEvents, type WireEvent } from "./stream.js";

export interface CodeContextOptions {
  /** python (default), javascript, typescript; python3, js, node, ts are understood, too. */
  language?: string;
  /** Default /workspace. */
  cwd?: string;
  env?: Record<string, string>;
  /** The same as env. */
  envVars?: Record<string, string>;
  /** Time limit in milliseconds of runs that name none. */
  timeout?: number;
}

export interface CodeContext {
  id: string;
  sandbox: string;
  language: string;
  cwd: string;
  env: Record<string, string>;
  timeout?: number;
  state: "starting" | "idle" | "busy" | "restarting" | "dead";
  /** Why it is dead; the next run starts it again. */
  reason?: string;
  executionCount: number;
  /** Runs that are running or waiting. */
  queued: number;
  createdAt: Date;
  lastUsed: Date;
}

type WireContext = Omit<CodeContext, "createdAt" | "lastUsed"> & { createdAt: string; lastUsedAt: string };

function contextOf(wire: WireContext): CodeContext {
  const { createdAt, lastUsedAt, ...rest } = wire;
  return { ...rest, createdAt: new Date(createdAt), lastUsed: new Date(lastUsedAt) };
}

/** A context or its id. */
export type ContextRef = CodeContext | string;

function idOf(context: ContextRef): string {
  return typeof context === "string" ? context : context.id;
}

export interface RunOptions {
  /** Default: the sandbox's default context of the language. */
  context?: ContextRef;
  /** Default python. */
  language?: string;
  /** Environment variables of this run only. */
  env?: Record<string, string>;
  /** The same as env. */
  envVars?: Record<string, string>;
  /** Time limit in milliseconds from its start: it is interrupted, and killed if it does not stop within 5 s more. */
  timeout?: number;
  /** Formats of figures: png, svg, jpeg, retina, pdf. */
  formats?: readonly string[];
  /** An error aborts the runs that wait in this context and set this, too. */
  stopOnError?: boolean;
  /** Aborting interrupts the run (state is kept) and rejects with the signal's reason. */
  signal?: AbortSignal;
}

export interface RunCodeOptions extends RunOptions, RunCallbacks {
  /** Answers input(); without it, input() raises. */
  onInput?: (request: { prompt: string; password: boolean }) => string | Promise<string>;
}

function runBody(code: string, options: RunOptions, allowStdin: boolean): object {
  const { language, timeout, formats, stopOnError } = options;
  const context = options.context === undefined ? undefined : idOf(options.context);
  const env = options.env ?? options.envVars;
  return { code, context, language, env, timeout, formats, stopOnError, ...(allowStdin ? { allowStdin } : {}) };
}

function contextPath(box: Box, context: ContextRef): string {
  return `${box.base}/contexts/${encodeURIComponent(idOf(context))}`;
}

/** Calls that read a run that was started before. */
function followRun(box: Box, id: string, lastId: string, signal: AbortSignal | undefined): Call {
  const headers: Record<string, string> = lastId ? { "Last-Event-ID": lastId } : {};
  return { method: "GET", path: `${box.base}/executions/${encodeURIComponent(id)}`, headers, idempotent: true, signal };
}

/**
 * Events of a run: started, stdout, stderr, display, update_display, clear_output, result, error, notice,
 * input_request, done (docs/api.md, "As events"). Goes on by itself after a broken connection. Leaving the loop
 * stops nothing: the Execution can be fetched by its id (getExecution).
 */
export async function* runCodeStream(box: Box, code: string, options: RunOptions, allowStdin = false): AsyncGenerator<WireEvent, void, undefined> {
  let id = "";
  const signal = options.signal;
  const first: Call = { method: "POST", path: `${box.base}/run`, json: runBody(code, options, allowStdin), idempotent: false, signal };
  await box.need(() => Promise.resolve());
  const again = (lastId: string): Call | undefined => (id ? followRun(box, id, lastId, signal) : undefined);
  for await (const event of resumeEvents(box.connection, { first, again, last: new Set(["done"]) })) {
    if (event.type === "started" && id) continue; // of a second connection
    id = event["executionId"] as string;
    yield event;
  }
}

/** Interrupts a run that nobody waits for any more, if it is the one that runs. */
async function interruptRun(box: Box, id: string): Promise<void> {
  const run = await getExecution(box, id);
  if (run.status === "running" && run.context) await interrupt(box, run.context);
}

async function answerInput(box: Box, event: WireEvent, context: string | undefined, options: RunCodeOptions): Promise<void> {
  const request = { prompt: (event["prompt"] as string | undefined) ?? "", password: event["password"] === true };
  const value = await options.onInput?.(request);
  const executionId = event["executionId"] as string;
  const target = context ?? (await getExecution(box, executionId)).context;
  if (target !== undefined && value !== undefined) await sendInput(box, target, value, executionId);
}

/** Runs code to its end. An error of the code is in the Execution; what is thrown is an error of the call. */
export async function runCode(box: Box, code: string, options: RunCodeOptions): Promise<Execution> {
  const builder = new ExecutionBuilder(code, options);
  let context = options.context === undefined ? undefined : idOf(options.context);
  try {
    for await (const event of runCodeStream(box, code, options, options.onInput !== undefined)) {
      if (event.type === "started" && typeof event["context"] === "string") context = event["context"];
      builder.take(event);
      if (event.type === "input_request") await answerInput(box, event, context, options);
    }
  } catch (error) {
    // the caller's reason is what it gets, whatever becomes of the interrupt
    const aborted = box.connection.signalOf(options.signal)?.aborted === true;
    if (aborted && builder.id) await interruptRun(box.withSignal(undefined), builder.id).catch(() => undefined);
    throw error;
  }
  const execution = builder.finish();
  if (!execution) throw new ConnectionError("the stream of events ended before the run did");
  return execution;
}

export async function createCodeContext(box: Box, options: CodeContextOptions): Promise<CodeContext> {
  const { envVars, ...rest } = options;
  const json = { ...rest, env: options.env ?? envVars };
  await box.need(() => Promise.resolve());
  return contextOf(await box.json<WireContext>({ method: "POST", path: `${box.base}/contexts`, json, idempotent: false }));
}

export async function listCodeContexts(box: Box): Promise<CodeContext[]> {
  const answer = await box.json<{ contexts: WireContext[] }>({ method: "GET", path: `${box.base}/contexts`, idempotent: true });
  return answer.contexts.map(contextOf);
}

export async function getCodeContext(box: Box, id: string): Promise<CodeContext> {
  return contextOf(await box.json<WireContext>({ method: "GET", path: contextPath(box, id), idempotent: true }));
}

export function deleteCodeContext(box: Box, context: ContextRef): Promise<void> {
  return box.done({ method: "DELETE", path: contextPath(box, context), idempotent: true });
}

/** Without a context: every one that is busy. */
export async function interrupt(box: Box, context?: ContextRef): Promise<void> {
  const targets = context === undefined ? (await listCodeContexts(box)).filter((one) => one.state === "busy") : [context];
  for (const target of targets) await box.done({ method: "POST", path: `${contextPath(box, target)}/interrupt`, idempotent: false });
}

export async function restartCodeContext(box: Box, context: ContextRef): Promise<CodeContext> {
  return contextOf(await box.json<WireContext>({ method: "POST", path: `${contextPath(box, context)}/restart`, idempotent: false }));
}

export interface Completion {
  matches: string[];
  /** In code points. */
  cursorStart: number;
  cursorEnd: number;
  metadata: Record<string, unknown>;
}

export function complete(box: Box, context: ContextRef, code: string, cursorPos?: number): Promise<Completion> {
  return box.json<Completion>({ method: "POST", path: `${contextPath(box, context)}/complete`, json: { code, cursorPos }, idempotent: true });
}

export interface Inspection {
  found: boolean;
  data: Record<string, unknown>;
  metadata: Record<string, unknown>;
}

export function inspect(box: Box, context: ContextRef, code: string, options: { cursorPos?: number; detailLevel?: 0 | 1 }): Promise<Inspection> {
  const json = { code, ...options };
  return box.json<Inspection>({ method: "POST", path: `${contextPath(box, context)}/inspect`, json, idempotent: true });
}

export function sendInput(box: Box, context: ContextRef, value: string, executionId?: string): Promise<void> {
  const json = { value, executionId };
  return box.done({ method: "POST", path: `${contextPath(box, context)}/input`, json, idempotent: false });
}

export async function getExecution(box: Box, id: string): Promise<Execution> {
  const path = `${box.base}/executions/${encodeURIComponent(id)}`;
  return executionOf(await box.json<WireExecution>({ method: "GET", path, idempotent: true }));
}

export async function listExecutions(box: Box, limit?: number): Promise<ExecutionInfo[]> {
  const call: Call = { method: "GET", path: `${box.base}/executions`, query: { limit }, idempotent: true };
  return (await box.json<{ executions: ExecutionInfo[] }>(call)).executions;
}
