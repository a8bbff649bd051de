// The proposed `ServerlessWorker` standard, as Portside has it. Nothing here is declared by @cloudflare/workers-types or by
// TypeScript's own libraries, so it can be used beside both.

/** A handle on the one worker of a script and a name. It wakes nothing until its port is used. */
declare class ServerlessWorker {
  /**
   * @param script The worker's module, relative to the module that says it.
   * @param name The worker's name, at most 1024 bytes of UTF-8; without one it is the script's default worker, `""`.
   * @throws {TypeError} If there is no such script, or the name is too long.
   */
  constructor(script: string | URL, name?: string | ServerlessWorkerOptions | null);
  /** The connection to the worker. It is made when it is first used. */
  readonly port: ServerlessWorkerPort;
  /** The worker's name. */
  readonly name: string;
}

interface ServerlessWorkerOptions {
  name?: string;
  /** There is no other. */
  type?: "module";
}

/** One end of a connection between a server or worker and a worker. */
interface ServerlessWorkerPort extends EventTarget {
  /** Setting it starts the port, as `start()` does. */
  onmessage: ((this: ServerlessWorkerPort, event: MessageEvent) => unknown) | null;
  onmessageerror: ((this: ServerlessWorkerPort, event: MessageEvent) => unknown) | null;
  onerror: ((this: ServerlessWorkerPort, event: ServerlessWorkerErrorEvent) => unknown) | null;
  onclose: ((this: ServerlessWorkerPort, event: ServerlessWorkerCloseEvent) => unknown) | null;
  /**
   * Sends a structured clone, in order; it leaves when the writes before it are durable. On a closed port it does nothing.
   *
   * @throws {DOMException} `DataCloneError`, if it cannot be cloned or has more than 32 MiB.
   * @throws {ServerlessWorkerOverloadedError} If too much waits on the port.
   */
  postMessage(message: any, options?: ArrayBuffer[] | ServerlessWorkerMessageOptions): void;
  /** Has messages delivered, for those who listen with `addEventListener`. */
  start(): void;
  close(): void;
  addEventListener<Type extends keyof ServerlessWorkerPortEventMap>(
    type: Type,
    listener: (this: ServerlessWorkerPort, event: ServerlessWorkerPortEventMap[Type]) => unknown,
    options?: Parameters<EventTarget["addEventListener"]>[2],
  ): void;
  addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: Parameters<EventTarget["addEventListener"]>[2],
  ): void;
}

interface ServerlessWorkerPortEventMap {
  message: MessageEvent;
  messageerror: MessageEvent;
  error: ServerlessWorkerErrorEvent;
  close: ServerlessWorkerCloseEvent;
}

interface ServerlessWorkerMessageOptions {
  /** Buffers to hand over instead of copying them; ports and streams cannot be. */
  transfer?: ArrayBuffer[];
}

/** The other side of a port is gone. */
interface ServerlessWorkerCloseEvent extends Event {
  /** It closed the port, or terminated itself, or was lost. */
  readonly code: "closed" | "terminated" | "lost";
  /** The same. */
  readonly reason: "closed" | "terminated" | "lost";
  /** Whether it closed the port. */
  readonly wasClean: boolean;
}

/** What was sent did not arrive. */
interface ServerlessWorkerErrorEvent extends ErrorEvent {
  readonly error: ServerlessWorkerPortError;
}

/** A `ServerlessWorkerOverloadedError` if `code` is `"overloaded"`. */
interface ServerlessWorkerPortError extends Error {
  readonly code: "overloaded" | "unavailable" | "failed";
  /** After how many milliseconds to try again, where that is known. */
  readonly retryAfterMs?: number;
}

/** Whom it is sent to has too much to do. A server's `fetch` that throws it is answered with a 503 and `Retry-After`. */
declare class ServerlessWorkerOverloadedError extends Error {
  constructor(message?: string, options?: ServerlessWorkerOverloadedErrorOptions);
  overloaded: true;
  /** After how many milliseconds to try again. */
  retryAfterMs: number;
}

interface ServerlessWorkerOverloadedErrorOptions {
  /** 1000 unless given. */
  retryAfterMs?: number;
}

/** Keeps the instance awake until the promise settles, and in a server the request's ports open. */
declare function waitUntil(promise: unknown): void;

// === in workers alone ===

/** What a worker exports by default: `export default { … } satisfies WorkerHandlers`. */
interface WorkerHandlers {
  /** A connection to the worker was made. */
  connect?(event: ConnectEvent): unknown;
  /** The alarm is due. One whose handler throws is delivered again. */
  alarm?(info: AlarmInfo): unknown;
}

interface ConnectEvent extends Event {
  /** The worker's end of the connection. */
  readonly ports: readonly [ServerlessWorkerPort];
  /** Whether the port was connected to an earlier instance of the worker; no port is so far. */
  readonly reconnected: boolean;
  /** @deprecated Use `ports[0].postMessage()`. */
  postMessage(message: any, options?: ArrayBuffer[] | ServerlessWorkerMessageOptions): void;
}

interface AlarmInfo {
  /** For when it was set, in milliseconds since 1970. */
  readonly scheduledTime: number;
  /** How often it was delivered before. */
  readonly retryCount: number;
  readonly isRetry: boolean;
}

/** The worker's name, `""` for the default worker. */
declare var name: string;

/** Ends this instance after its writes. Storage and alarm stay. */
declare function terminate(): never;

/** Sets the worker's one alarm, in place of another; resolves when that is durable. */
declare function setAlarm(time: number | Date): Promise<void>;

/** For when the alarm is set, in milliseconds since 1970, or null. */
declare function getAlarm(): Promise<number | null>;

/** Resolves when it is durable that there is no alarm. */
declare function deleteAlarm(): Promise<void>;

/** The worker's own, durable storage. */
declare var storage: WorkerStorage;

/**
 * Keys, of at most 2 KiB, in the order of their UTF-8 bytes; values are structured clones of at most 2 MiB. A call may name 128
 * keys. Writes made without an `await` between them become durable together, or not at all.
 */
interface WorkerStorage extends WorkerKeys {
  /** Deletes all keys, not the alarm. */
  deleteAll(): Promise<void>;
  /** Resolves when all writes so far are durable. */
  sync(): Promise<void>;
  /** Has all writes of `closure` done at its end, or none. It is run again if what it read was written meanwhile. */
  transaction<T>(closure: (transaction: WorkerTransaction) => T | Promise<T>): Promise<T>;
}

interface WorkerTransaction extends WorkerKeys {
  /** Drops the writes; the transaction cannot be used any more. */
  rollback(): void;
}

/** What a storage and a transaction have. Reads give `any`, unless they are told what is there: `get<number>("count")`. */
interface WorkerKeys {
  get<T = any>(key: string): Promise<T | undefined>;
  /** Those of the keys that are there. */
  get<T = any>(keys: string[]): Promise<Map<string, T>>;
  /** Resolves when it is durable. */
  put<T>(key: string, value: T): Promise<void>;
  put<T>(entries: Record<string, T>): Promise<void>;
  /** Whether it was there. */
  delete(key: string): Promise<boolean>;
  /** How many of them were there. */
  delete(keys: string[]): Promise<number>;
  list<T = any>(options?: WorkerListOptions | null): Promise<Map<string, T>>;
  setAlarm(time: number | Date): Promise<void>;
  getAlarm(): Promise<number | null>;
  deleteAlarm(): Promise<void>;
}

interface WorkerListOptions {
  /** Keys that begin with it. */
  prefix?: string;
  /** Keys from it on. */
  start?: string;
  /** Keys after it; not together with `start`. */
  startAfter?: string;
  /** Keys before it. */
  end?: string;
  /** The last ones first. */
  reverse?: boolean;
  /** How many at most. */
  limit?: number;
}

// `self` is of this type where @cloudflare/workers-types is.
interface ServiceWorkerGlobalScope {
  readonly name: string;
  readonly storage: WorkerStorage;
  terminate: typeof terminate;
  waitUntil: typeof waitUntil;
  setAlarm: typeof setAlarm;
  getAlarm: typeof getAlarm;
  deleteAlarm: typeof deleteAlarm;
}
