// What Workers have beyond the web platform. For applications without @cloudflare/workers-types, which declares the same, and
// with TypeScript's library "webworker".

/** What a server exports by default: `export default { … } satisfies ServerHandlers<Env>`. */
interface ServerHandlers<Env = unknown> {
  fetch(request: Request, env: Env, ctx: ExecutionContext): Response | Promise<Response>;
}

/** What a server's handler has for one request. */
interface ExecutionContext<Props = unknown> {
  /** Keeps the instance awake until the promise settles, and the request's ports open. */
  waitUntil(promise: unknown): void;
  /** Without effect. */
  passThroughOnException(): void;
  /** The application's own entry points and classes, by their names. */
  readonly exports: Record<string, any>;
  /** What an entry point was given by whoever calls it. */
  readonly props: Props;
}

/** Two joined WebSockets: `accept()` one, and answer with the other. */
declare class WebSocketPair {
  constructor();
  readonly 0: PairedWebSocket;
  readonly 1: PairedWebSocket;
  [Symbol.iterator](): Generator<PairedWebSocket>;
}

/** An end of a pair, or of a WebSocket that a response came with. */
interface PairedWebSocket extends EventTarget {
  onmessage: ((this: PairedWebSocket, event: MessageEvent) => unknown) | null;
  onclose: ((this: PairedWebSocket, event: CloseEvent) => unknown) | null;
  onerror: ((this: PairedWebSocket, event: Event) => unknown) | null;
  readonly CONNECTING: 0;
  readonly OPEN: 1;
  readonly CLOSING: 2;
  readonly CLOSED: 3;
  readonly readyState: number;
  readonly url: null;
  readonly protocol: string;
  readonly extensions: string;
  binaryType: BinaryType;
  /** Bytes that were sent and that the other end has not got. */
  readonly bufferedAmount: number;
  /** Has messages delivered to the listeners of this end. */
  accept(options?: PairedWebSocketAcceptOptions | null): void;
  send(data: string | ArrayBuffer | ArrayBufferView | Blob): void;
  /** @param code 1000 to 4999, but for 1004, 1005, 1006 and 1015. */
  close(code?: number, reason?: string): void;
  /** Keeps a structured clone, of at most 16 KiB, with the socket. */
  serializeAttachment(value: any): void;
  /** What was kept, or null. */
  deserializeAttachment(): any;
  addEventListener<Type extends keyof PairedWebSocketEventMap>(
    type: Type,
    listener: (this: PairedWebSocket, event: PairedWebSocketEventMap[Type]) => unknown,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | AddEventListenerOptions,
  ): void;
}

interface PairedWebSocketEventMap {
  message: MessageEvent;
  close: CloseEvent;
  error: Event;
}

interface PairedWebSocketAcceptOptions {
  /** Whether a close of the other end is left to be answered here. */
  allowHalfOpen?: boolean;
}

interface Request {
  /** Whether it opens a WebSocket again whose answer had `reconnects`: its client stays, and another instance had it before. */
  readonly reconnected: boolean;
}

interface Response {
  /** The client's end of a pair, in an answer with status 101. */
  readonly webSocket: PairedWebSocket | null;
}

interface ResponseInit {
  /** The client's end of a pair; `status` must be 101. */
  webSocket?: PairedWebSocket | null;
  /**
   * Whether a client of a cluster stays when the pod or its code goes: `fetch` runs again for the same request, which is `reconnected`.
   * The other end has to be accepted before.
   */
  reconnects?: boolean;
}

/** A message of hibernatable WebSockets, and what it is answered with without waking their object. */
declare class WebSocketRequestResponsePair {
  constructor(request: string, response: string);
  readonly request: string;
  readonly response: string;
}

interface Scheduler {
  /** Resolves after so many milliseconds. */
  wait(delay: number, options?: SchedulerWaitOptions): Promise<void>;
}

declare var scheduler: Scheduler;

interface SchedulerWaitOptions {
  /** Rejects when it is aborted. */
  signal?: AbortSignal;
}

/** Passes bytes on as they come. */
declare class IdentityTransformStream extends TransformStream<ArrayBuffer | ArrayBufferView, Uint8Array<ArrayBuffer>> {
  constructor();
}

/** The same for bytes whose number is known before. */
declare class FixedLengthStream extends TransformStream<ArrayBuffer | ArrayBufferView, Uint8Array<ArrayBuffer>> {
  constructor(expectedLength: number | bigint);
}
