/** Streams of events over HTTP, and how they go on after a broken connection. */
import type { Call, Connection } from "./connection.js";
import { CellboxError, ConnectionError, errorFor } from "./errors.js";
import { pauseBefore, sleep } from "./retry.js";
import { SseParser } from "./sse.js";

/** What every event has. */
export interface WireEvent {
  type: string;
  timestamp: string;
  [member: string]: unknown;
}

export interface NumberedEvent {
  event: WireEvent;
  /** Where a later connection goes on; "" if the stream has no numbers. */
  id: string;
}

/** Events of an answer until it ends. Whoever leaves the loop closes the request. */
export async function* readEvents(response: Response, signal?: AbortSignal): AsyncGenerator<NumberedEvent, void, undefined> {
  const parser = new SseParser();
  const reader = response.body?.getReader();
  if (!reader) return;
  let ended = false;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      ended = done;
      if (done) return;
      for (const found of parser.feed(value)) yield { event: JSON.parse(found.data) as WireEvent, id: found.id };
    }
  } catch (error) {
    signal?.throwIfAborted();
    ended = true;
    throw new ConnectionError("the stream of events broke off", error);
  } finally {
    if (!ended) await reader.cancel().catch(() => undefined);
  }
}

/** Opens a stream of events with a call. */
export async function* openEvents(connection: Connection, call: Call): AsyncGenerator<NumberedEvent, void, undefined> {
  const response = await connection.send({ ...call, headers: { ...call.headers, Accept: "text/event-stream" } });
  yield* readEvents(response, connection.signalOf(call.signal));
}

/** An `error` event of a command's stream as the error that it is. */
export function errorOfEvent(event: WireEvent): CellboxError {
  const code = typeof event["code"] === "string" ? event["code"] : "STREAM_FAILED";
  const status = typeof event["status"] === "number" ? event["status"] : code === "BOX_GONE" ? 503 : 500;
  return errorFor(code, status, typeof event["message"] === "string" ? event["message"] : code);
}

export interface Resumable {
  /** The call of the first connection; it may do something, so it is not repeated by itself. */
  first: Call;
  /** The call that goes on behind the event of that id; undefined: it cannot (yet). */
  again: (lastId: string) => Call | undefined;
  /** Types of events after which nothing follows. */
  last: ReadonlySet<string>;
}

/**
 * Events until one of `last`; a connection that breaks off before is made again behind the last event
 * that arrived, so nothing is lost or seen twice. A stream that ends for good without its last event is an error.
 */
export async function* resumeEvents(connection: Connection, how: Resumable): AsyncGenerator<WireEvent, void, undefined> {
  const signal = connection.signalOf(how.first.signal);
  let lastId = "";
  let failures = 0;
  for (let call: Call | undefined = how.first; ; ) {
    let broken: unknown = new ConnectionError("the stream of events ended before its last event");
    try {
      for await (const { event, id } of openEvents(connection, call)) {
        failures = 0;
        lastId = id || lastId;
        yield event;
        if (how.last.has(event.type)) return;
      }
    } catch (error) {
      if (!(error instanceof ConnectionError)) throw error;
      broken = error;
    }
    call = how.again(lastId);
    if (!call || ++failures > (connection.retry.retries ?? 4)) throw broken;
    await sleep(pauseBefore(failures, connection.retry), signal);
  }
}
