/** An addon of xterm.js that shows a terminal of a box. Has xterm's interface and imports nothing of it. */
import type { AttachOptions, ConnectionState, Terminal, TerminalConnection, TerminalExit } from "./terminal.js";

interface Disposable {
  dispose(): void;
}

/** The part of xterm's Terminal that is used. */
export interface XtermTerminal {
  readonly cols: number;
  readonly rows: number;
  write(data: Uint8Array | string): void;
  onData(listener: (data: string) => void): Disposable;
  onBinary(listener: (data: string) => void): Disposable;
  onResize(listener: (size: { cols: number; rows: number }) => void): Disposable;
}

export interface SandboxAddonOptions {
  /** Only looks: neither keys nor sizes are sent. */
  readOnly?: boolean;
  /** Connect again after a broken connection. Default true. */
  reconnect?: boolean;
  onStateChange?: (state: ConnectionState) => void;
  onExit?: (exit: TerminalExit) => void;
  onError?: (message: string) => void;
}

/**
 * `xterm.loadAddon(new SandboxAddon(terminal))` connects both: output, keys, pasted bytes, size. dispose() ends the
 * viewer; the terminal in the box goes on.
 */
export class SandboxAddon {
  #viewer: TerminalConnection | undefined;
  #listeners: Disposable[] = [];

  constructor(
    private readonly terminal: Terminal,
    private readonly options: SandboxAddonOptions = {},
  ) {}

  /** Called by xterm.js. */
  activate(xterm: XtermTerminal): void {
    const attach: AttachOptions = { ...this.options, onData: (data) => { xterm.write(data); } };
    const viewer = this.terminal.attach(this.options.readOnly ? attach : { ...attach, cols: xterm.cols, rows: xterm.rows });
    this.#viewer = viewer;
    viewer.ready.catch((error: unknown) => this.options.onError?.(String(error)));
    if (this.options.readOnly) return;
    this.#listeners = [
      xterm.onData((data) => viewer.write(data)),
      xterm.onBinary((data) => viewer.write(Uint8Array.from(data, (c) => c.charCodeAt(0)))),
      xterm.onResize(({ cols, rows }) => viewer.resize(cols, rows)),
    ];
  }

  /** The viewer, once activated. */
  get connection(): TerminalConnection | undefined {
    return this.#viewer;
  }

  dispose(): void {
    for (const listener of this.#listeners) listener.dispose();
    this.#listeners = [];
    this.#viewer?.close();
  }
}
