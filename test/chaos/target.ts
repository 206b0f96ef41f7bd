/** What faults are done to: a place in the fleet whose process ends and comes back. */
export type Role = "supervisor" | "worker" | "server";

export interface Target {
  readonly role: Role;
  /** Names the process, not the place: `worker-2.3` is the third process of the second worker. */
  readonly process: string;
  readonly pid: number;
  /** A fault on it is not over yet. */
  busy: boolean;
  /** Ends the process at once; resolves when it is gone. */
  kill(): Promise<void>;
  /** Asks the process to end; resolves when it is gone. */
  terminate(): Promise<void>;
  /** Starts the next process in this place; resolves when it can be used. */
  start(): Promise<void>;
}
