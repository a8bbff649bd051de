// The part of the platform that this example uses, for the type checker and the editor.

interface WorkerPort extends EventTarget {
  onmessage: ((event: MessageEvent<unknown>) => void) | null;
  onclose: ((event: Event) => void) | null;
  postMessage(message: unknown): void;
  close(): void;
}

declare class ServerlessWorker {
  constructor(script: string, name?: string);
  readonly port: WorkerPort;
}

interface ConnectEvent {
  readonly ports: readonly [WorkerPort];
}

declare const storage: {
  get<T>(key: string): Promise<T | undefined>;
  put(key: string, value: unknown): Promise<void>;
};
