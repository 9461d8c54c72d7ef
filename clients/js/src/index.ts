/** Client of Cellbox. Start with getSandbox; docs/sdk.md. */
export { getSandbox, listSandboxes, Sandbox, type GetSandboxOptions } from "./sandbox.js";
export type { Limits, SandboxInfo, SandboxOptions, Usage } from "./box.js";
export type { ConnectionOptions } from "./connection.js";
export type { RetryOptions } from "./retry.js";
export type { WebSocketConstructor, WebSocketLike } from "./websocket.js";
export * from "./errors.js";
export { ExecResult, type Command, type ExecCallbacks, type ExecEvent, type ExecOptions, type OutputBound, type ScriptOptions } from "./commands.js";
export { ExecutionSession, type SessionInfo, type SessionOptions } from "./session.js";
export {
  Process,
  type ExitInfo,
  type LogEvent,
  type LogMatch,
  type LogOptions,
  type Logs,
  type ProcessInfo,
  type ProcessOptions,
  type ProcessStatus,
  type WaitForPortOptions,
  type WaitOptions,
} from "./process.js";
export type * from "./files.js";
export type { BucketCredentials, BucketInfo, MountBucketOptions } from "./buckets.js";
export type { GitCheckoutOptions, GitCheckoutResult, GitCredentials, GitProgress } from "./git.js";
export type { ExposedPort, ExposePortOptions } from "./ports.js";
export {
  deleteHandler,
  deleteSecret,
  listHandlers,
  listSecrets,
  putHandler,
  putSecret,
  type EgressInjection,
  type EgressLog,
  type EgressPolicy,
  type EgressQuota,
  type EgressRate,
  type EgressRecord,
  type EgressRule,
  type FollowOptions,
  type HandlerChoice,
  type HandlerInfo,
  type Secret,
  type SecretInfo,
} from "./egress.js";
export { Watcher, type WatchEvent, type WatchOptions } from "./watch.js";
export {
  Terminal,
  TerminalConnection,
  type AttachOptions,
  type ConnectionState,
  type TerminalExit,
  type TerminalInfo,
  type TerminalOptions,
} from "./terminal.js";
export { SandboxAddon, type SandboxAddonOptions, type XtermTerminal } from "./addon.js";
export type { CodeContext, CodeContextOptions, Completion, ContextRef, Inspection, RunCodeOptions, RunOptions } from "./code.js";
export { Execution, Result, type ExecutionError, type ExecutionInfo, type MimeBundle, type OutputMessage, type RunCallbacks, type Timing } from "./execution.js";
export type { CellDone, Notebook, NotebookOptions, NotebookResult } from "./notebook.js";
export type { WireEvent } from "./stream.js";
export { SseParser, type ServerEvent } from "./sse.js";
