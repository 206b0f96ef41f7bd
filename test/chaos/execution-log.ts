/** What a worker writes down of its executions, one line each, before they begin and when they end. */
import { openSync, writeSync } from "node:fs";

export type ExecutionOutcome = "returned" | "threw" | "aborted";

export interface ExecutionLine {
  at: number;
  job: string;
  index: number;
  attempt: number;
  /** Of graphs: which function was executed, and one number of all that it was handed. */
  call?: string;
  input?: number;
  /** Of an item: its number. */
  item?: number;
  /** Absent at the beginning. */
  outcome?: ExecutionOutcome;
}

/** The file is named by the environment, since the workers are processes of the `async` command. */
export const EXECUTION_LOG_ENV = "ASYNC_CHAOS_EXECUTIONS";

export class ExecutionLog {
  readonly #file: number;

  constructor(path: string) {
    this.#file = openSync(path, "a");
  }

  /** When it returns, the line outlives this process. */
  write(line: ExecutionLine): void {
    writeSync(this.#file, `${JSON.stringify(line)}\n`);
  }
}
