// What cells see besides Node's own globals. Type checks of cells read this file.

interface DisplayOptions {
  /** Names the output, so that it can be updated. */
  id?: string;
  metadata?: Record<string, unknown>;
}

interface DisplayHandle {
  readonly id: string;
  update(value: unknown, options?: DisplayOptions): void;
}

interface Display {
  (value: unknown, options?: DisplayOptions): DisplayHandle;
  update(id: string, value: unknown, options?: DisplayOptions): void;
  clear(wait?: boolean): void;
  mime(bundle: Record<string, unknown>, options?: DisplayOptions): DisplayHandle;
  html(text: TemplateStringsArray | string, ...values: unknown[]): DisplayHandle;
  svg(text: TemplateStringsArray | string, ...values: unknown[]): DisplayHandle;
  markdown(text: TemplateStringsArray | string, ...values: unknown[]): DisplayHandle;
  latex(text: TemplateStringsArray | string, ...values: unknown[]): DisplayHandle;
  javascript(text: TemplateStringsArray | string, ...values: unknown[]): DisplayHandle;
  text(text: TemplateStringsArray | string, ...values: unknown[]): DisplayHandle;
  json(value: unknown): DisplayHandle;
  image(source: Uint8Array | ArrayBuffer | string | URL, options?: { type?: string }): DisplayHandle;
  vega(spec: object): DisplayHandle;
}

interface CommMessage {
  data: any;
  metadata: Record<string, unknown>;
  buffers: Uint8Array[];
}

interface CommOptions {
  metadata?: Record<string, unknown>;
  buffers?: (ArrayBuffer | ArrayBufferView)[];
}

interface JupyterComm {
  readonly id: string;
  readonly target: string;
  onMessage: ((message: CommMessage) => unknown) | null;
  onClose: ((message: CommMessage) => unknown) | null;
  send(data?: unknown, options?: CommOptions): void;
  close(data?: unknown): void;
}

declare var display: Display;
declare var Jupyter: {
  display: Display;
  comms: {
    register(target: string, onOpen: (comm: JupyterComm, message: CommMessage) => unknown): void;
    unregister(target: string): void;
    create(target: string, data?: unknown, options?: CommOptions & { id?: string }): JupyterComm;
    get(id: string): JupyterComm | undefined;
  };
};
declare function prompt(message?: string, initial?: string): string;
declare function confirm(message?: string): boolean;
declare function alert(message?: string): void;
/** The value of the last cell that had one. */
declare var _: any;
