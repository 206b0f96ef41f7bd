/** What someone may ask for who retries a job by hand. Which of it a job can do is for its machine to say. */

/** What may be changed when a job is retried by hand, and where it goes on; what is absent stays. */
export interface RetryPatch {
  data?: unknown;
  /** Of the function that is run next. */
  args?: unknown;
  /** Other args of entries, by their ids. */
  args_by_id?: Record<string, unknown>;
  /** That entry, and all that follows from it, is run again: its id, or its index in the list where it has none. */
  from?: string | number;
  /** What failed is run again, also in a job that has completed all the same. */
  failed?: boolean;
  /** It is run again although what it has done was not undone. */
  force?: boolean;
  /** Who asks for it, in words: the event of the change names him. */
  by?: string;
}

/** Most characters of `by`. */
export const MAX_BY_LENGTH = 128;
