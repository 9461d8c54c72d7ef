/** Server-sent events (the WHATWG format): bytes in any pieces in, events out. No I/O. */

/** One event: its name, its data as text, and the last id that the stream has named. */
export interface ServerEvent {
  type: string;
  data: string;
  id: string;
}

/**
 * Parser of one stream. Pieces may be cut anywhere, also inside a character or between CR and LF. An event
 * that is not ended by an empty line is not delivered, as the format demands.
 */
export class SseParser {
  readonly #decoder = new TextDecoder();
  readonly #pending: string[] = [];
  #data: string[] = [];
  #type = "";
  #id = "";
  #afterCr = false;

  /** Events that are complete with this piece. */
  feed(piece: Uint8Array): ServerEvent[] {
    let text = this.#decoder.decode(piece, { stream: true });
    if (text === "") return [];
    if (this.#afterCr && text.startsWith("\n")) text = text.slice(1);
    this.#afterCr = text.endsWith("\r"); // its LF may come with the next piece
    const lines = text.split(/\r\n|\r|\n/);
    const rest = lines.pop() ?? "";
    const events: ServerEvent[] = [];
    for (const line of lines) {
      this.#pending.push(line);
      const event = this.#line(this.#pending.join(""));
      this.#pending.length = 0;
      if (event) events.push(event);
    }
    if (rest !== "") this.#pending.push(rest);
    return events;
  }

  #line(line: string): ServerEvent | undefined {
    if (line === "") return this.#dispatch();
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + (line[colon + 1] === " " ? 2 : 1));
    if (field === "data") this.#data.push(value);
    else if (field === "event") this.#type = value;
    else if (field === "id" && !value.includes("\0")) this.#id = value;
    return undefined;
  }

  #dispatch(): ServerEvent | undefined {
    const event = this.#data.length > 0 ? { type: this.#type || "message", data: this.#data.join("\n"), id: this.#id } : undefined;
    this.#data = [];
    this.#type = "";
    return event;
  }
}
