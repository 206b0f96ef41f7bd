/** What a client can be asked for besides what is named. */
import type { ListOrder } from "../api/requests.ts";
import type { JobEvent } from "../job/events.ts";
import type { ItemStateName } from "../job/item-view.ts";
import type { StateName } from "../job/state.ts";
import type { Limits } from "./ends.ts";
import type { SubmitOptions } from "./submission.ts";

export interface ListRequest {
  /** Only jobs in this state. */
  state?: StateName;
  /** Only jobs that have all of these tags. */
  tags?: Readonly<Record<string, string>>;
  /** Most jobs in the answer, 1 to 10,000. Default 1,000. */
  limit?: number;
  /** `next` of the answer before. */
  cursor?: string;
  /** Which jobs come first: the longest unchanged (`oldest`, the default), or those that have changed last. */
  order?: ListOrder;
  /** Also jobs that are children of others. Default: they are left out. */
  children?: boolean;
  /** Only the children of that job. */
  parent?: string;
}

export interface ListItemsOptions {
  /** Only items in this state. */
  state?: ItemStateName;
  /** Most items in the answer, 1 to 10,000. Default 1,000. */
  limit?: number;
  /** `next` of the answer before. */
  cursor?: string;
}

export interface WaitOptions extends Limits {
  /** Told of what happens meanwhile. */
  onEvent?: (event: JobEvent) => void;
}

export interface RunOptions extends Limits, Omit<SubmitOptions, "timeoutMs"> {
  /** Told the id of the job when it is stored. */
  onSubmitted?: (jobId: string) => void;
}

export const DEFAULT_LIST_LIMIT = 1_000;
export const MAX_LIST_LIMIT = 10_000;
