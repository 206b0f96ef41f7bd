/** Why a function, an attempt or a job failed. `code` is stable; `name` and `message` are the worker's own words. */
export interface Failure {
  code: FailureCode;
  name: string;
  message: string;
  stack?: string;
}

export type FailureCode =
  /** the handler threw, or the service answered with an error */
  | "function_failed"
  /** the attempt took longer than the function's timeout */
  | "attempt_timeout"
  /** workers kept disappearing in the middle of attempts of this function */
  | "attempt_lost"
  /** workers that had to stop kept interrupting the function */
  | "attempt_interrupted"
  /** an expression of the entry could not be evaluated */
  | "expression_error"
  /** The child job of the entry has failed, or was cancelled. */
  | "child_failed"
  /** The document of a child is none. */
  | "invalid_child"
  /** More items have failed than the entry tolerates. */
  | "too_many_failures"
  /** What lists the items has answered with something else. */
  | "invalid_items"
  /** Items could not be undone. */
  | "undo_failed"
  /** the result of the entry is not as its `expect` asks */
  | "expectation_failed"
  /** the signal that the entry waited for did not come in time */
  | "signal_timeout"
  /** the job took longer than its timeout */
  | "job_timeout"
  /** an invocation, a result or the state of the job would be larger than the server's limit */
  | "payload_too_large"
  /** the server takes no timer for the time at which the job is to go on */
  | "schedule_refused"
  /** the submission could not be decoded or is not a valid job */
  | "invalid_submission"
  /** there was no definition of its name when a submission without functions was taken */
  | "definition_not_found"
  /** what was stored of the job could not be read any more */
  | "corrupt_state";
