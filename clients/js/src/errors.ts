/**
 * Errors of the server, one class for each kind that a program reacts to. The wire shape is
 * `{"error": {"code", "message", "details"}}` with the fitting HTTP status (docs/api.md).
 */

/** What the server says of an error beyond its message: which path, field, process… */
export type ErrorDetails = Readonly<Record<string, unknown>>;

/** Any refusal of the server. `code` is the stable name to branch on, `status` the HTTP status. */
export class CellboxError extends Error {
  readonly code: string;
  readonly status: number;
  readonly details: ErrorDetails;

  constructor(message: string, code: string, status: number, details: ErrorDetails = {}) {
    super(message);
    this.name = new.target.name;
    this.code = code;
    this.status = status;
    this.details = details;
  }
}

/** The server could not be reached, or the connection broke; code CONNECTION_FAILED, status 0. */
export class ConnectionError extends CellboxError {
  constructor(message: string, cause?: unknown) {
    super(message, "CONNECTION_FAILED", 0);
    this.cause = cause;
  }
}

/** 401 and 403 of the server itself: no token, or not the right one. */
export class AuthenticationError extends CellboxError {}
/** 400: something in the request is wrong; `details.field` or `details.parameter` names it. */
export class InvalidRequestError extends CellboxError {}
/** 404 of any kind. */
export class NotFoundError extends CellboxError {}
export class SandboxNotFoundError extends NotFoundError {}
export class ContextNotFoundError extends NotFoundError {}
export class ExecutionNotFoundError extends NotFoundError {}
export class ProcessNotFoundError extends NotFoundError {}
export class SessionNotFoundError extends NotFoundError {}
export class TerminalNotFoundError extends NotFoundError {}
export class CommandNotFoundError extends NotFoundError {}
export class FileNotFoundError extends NotFoundError {}
/** 403 for a file or a program that the box user may not touch. */
export class PermissionDeniedError extends CellboxError {}
export class IsDirectoryError extends InvalidRequestError {}
export class NotDirectoryError extends InvalidRequestError {}
/** 409: it exists already, or is in use. */
export class ConflictError extends CellboxError {}
export class FileExistsError extends ConflictError {}
/** 413: a body, a command or a file over a limit. */
export class TooLargeError extends CellboxError {}
/** 408: a time limit passed. */
export class TimeoutError extends CellboxError {}
/** waitForLog, waitForPort: the time was over before. */
export class ProcessReadyTimeoutError extends TimeoutError {}
/** waitForLog, waitForPort: the process ended first; `exitCode` says how. */
export class ProcessExitedBeforeReadyError extends ConflictError {
  /** Exit code of the process, 128 + signal if one ended it. */
  get exitCode(): number {
    return Number(this.details["exitCode"]);
  }
}
/** 429: too many of something; the call was not begun and may be tried again. */
export class LimitError extends CellboxError {}
/** 502, 503, 507: the server or the box cannot do it now. */
export class UnavailableError extends CellboxError {}
/** The box ended under a call. */
export class SandboxGoneError extends UnavailableError {}
/** git could not do it: codes GIT_AUTH_FAILED, GIT_REPOSITORY_NOT_FOUND, GIT_BRANCH_NOT_FOUND, GIT_NETWORK_ERROR, GIT_CLONE_FAILED. */
export class GitError extends CellboxError {}
/** A bucket could not be mounted: codes BUCKET_NOT_FOUND, BUCKET_ACCESS_DENIED, BUCKET_MOUNT_FAILED, BUCKET_UNMOUNT_FAILED. */
export class BucketError extends CellboxError {}

type ErrorClass = new (message: string, code: string, status: number, details?: ErrorDetails) => CellboxError;

const BY_CODE: Readonly<Record<string, ErrorClass>> = {
  UNAUTHORIZED: AuthenticationError,
  FORBIDDEN: AuthenticationError,
  CROSS_SITE: AuthenticationError,
  SANDBOX_NOT_FOUND: SandboxNotFoundError,
  CONTEXT_NOT_FOUND: ContextNotFoundError,
  EXECUTION_NOT_FOUND: ExecutionNotFoundError,
  PROCESS_NOT_FOUND: ProcessNotFoundError,
  SESSION_NOT_FOUND: SessionNotFoundError,
  TERMINAL_NOT_FOUND: TerminalNotFoundError,
  COMMAND_NOT_FOUND: CommandNotFoundError,
  FILE_NOT_FOUND: FileNotFoundError,
  PERMISSION_DENIED: PermissionDeniedError,
  READ_ONLY: PermissionDeniedError,
  IS_DIRECTORY: IsDirectoryError,
  NOT_DIRECTORY: NotDirectoryError,
  FILE_EXISTS: FileExistsError,
  PROCESS_READY_TIMEOUT: ProcessReadyTimeoutError,
  PROCESS_EXITED_BEFORE_READY: ProcessExitedBeforeReadyError,
  GIT_AUTH_FAILED: GitError,
  GIT_REPOSITORY_NOT_FOUND: GitError,
  GIT_BRANCH_NOT_FOUND: GitError,
  GIT_NETWORK_ERROR: GitError,
  GIT_CLONE_FAILED: GitError,
  BUCKET_NOT_FOUND: BucketError,
  BUCKET_ACCESS_DENIED: BucketError,
  BUCKET_MOUNT_FAILED: BucketError,
  BUCKET_UNMOUNT_FAILED: BucketError,
  BOX_GONE: SandboxGoneError,
  SANDBOX_STOPPED: SandboxGoneError,
};

const BY_STATUS: Readonly<Record<number, ErrorClass>> = {
  400: InvalidRequestError,
  401: AuthenticationError,
  403: PermissionDeniedError,
  404: NotFoundError,
  408: TimeoutError,
  409: ConflictError,
  413: TooLargeError,
  416: InvalidRequestError,
  429: LimitError,
  502: UnavailableError,
  503: UnavailableError,
  504: UnavailableError,
  507: UnavailableError,
};

/** The error of a code and a status, in its class. */
export function errorFor(code: string, status: number, message: string, details?: ErrorDetails): CellboxError {
  const Class = BY_CODE[code] ?? BY_STATUS[status] ?? CellboxError;
  return new Class(message, code, status, details);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

/** The error of an answer's body, whatever that body is (a proxy in between may have written it). */
export function errorFromBody(status: number, body: string): CellboxError {
  let parsed: unknown;
  try {
    parsed = JSON.parse(body);
  } catch {
    parsed = undefined;
  }
  const error = isObject(parsed) ? parsed["error"] : undefined;
  if (isObject(error) && typeof error["code"] === "string") {
    const details = isObject(error["details"]) ? error["details"] : {};
    return errorFor(error["code"], status, typeof error["message"] === "string" ? error["message"] : error["code"], details);
  }
  const text = body.trim().slice(0, 200);
  return errorFor(`HTTP_${status}`, status, text ? `HTTP status ${status}: ${text}` : `HTTP status ${status}`);
}
