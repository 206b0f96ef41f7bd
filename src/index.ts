/** The public API. What is not exported here may change at any time. */
export type { DispatcherOptions } from "./actors/dispatcher.ts";
export type { Lifecycle, LifecycleEvents, Notice, Predecessor, ReleaseReason, Trouble } from "./actors/lifecycle.ts";
export { Supervisor, type SupervisorOptions } from "./actors/supervisor.ts";
export type { ItemsReply } from "./api/items.ts";
export type {
  DefinitionInfo,
  DefinitionReply,
  FunctionSettingsReply,
  SettingsView,
} from "./api/kept.ts";
export type {
  CancelRequest,
  EventsReply,
  EventsRequest,
  FunctionDepth,
  FunctionsReply,
  ListedEvent,
  ListedJob,
  ListOrder,
  ListReply,
  ResultReply,
  SignalReply,
  SubmittedJob,
} from "./api/requests.ts";
export type { AccessOptions } from "./bus/address.ts";
export { Bus, type BusOptions, type Denial, type Fault } from "./bus/connection.ts";
export type { Invocation } from "./bus/messages/invocation.ts";
export {
  type EmbeddedServer,
  type EmbeddedServerExit,
  type EmbeddedServerOptions,
  startEmbeddedServer,
} from "./bus/server/embedded-server.ts";
export type { GuardExit } from "./bus/server/guard.ts";
export type { Topology, TopologyOptions } from "./bus/topology.ts";
export type { Listening } from "./bus/wire/steady-subscription.ts";
export { Client } from "./client/client.ts";
export type { Limits } from "./client/ends.ts";
export type { DefineOptions, SetFunctionOptions, SettingsChange } from "./client/kept.ts";
export type { ListItemsOptions, ListRequest, RunOptions, WaitOptions } from "./client/options.ts";
export type { SignalOptions } from "./client/signal.ts";
export type { SubmitManyOptions, SubmitOptions, SubmitOutcome } from "./client/submission.ts";
export type { WorkerView } from "./client/workers.ts";
export { type Bridge, type BridgeOptions, startBridge } from "./http/bridge.ts";
export { type CheckOptions, checkJob } from "./job/check.ts";
export type { Encoding } from "./job/encoding.ts";
export {
  AsyncError,
  type ErrorCode,
  InvalidInputError,
  isAsyncError,
  JobFailedError,
  type Reason,
} from "./job/errors.ts";
export type { AttemptRef, End, EntryRef, JobEvent, JobEventBody, RejectedEvent } from "./job/events.ts";
export type {
  ExplainDetail,
  ExplainedEnd,
  ExplainedEntry,
  ExplainedError,
  ExplainReason,
  Explanation,
  Facts,
} from "./job/explanation.ts";
export type { Failure, FailureCode } from "./job/failure.ts";
export type { EntryKind } from "./job/function-state.ts";
export type { ItemStateName, ItemView } from "./job/item-view.ts";
export { type JsonSchema, jobSchema } from "./job/json-schema.ts";
export type { NamedJob } from "./job/named.ts";
export type { ItemsView, UndoingView, UndoView } from "./job/record.ts";
export type { RetryPatch } from "./job/retry-patch.ts";
export type { Backoff, ErrorEntry, FunctionSpec, JobDocument, RetryOptions, Submission } from "./job/schema.ts";
export type { FunctionSettings } from "./job/settings.ts";
export type { AttemptAddress, StateName, UndoSummary, WaitReason } from "./job/state.ts";
export type { FunctionView, JobView } from "./job/view.ts";
export { VERSION } from "./version.ts";
export type { Context, Handler } from "./worker/context.ts";
export { FatalError, RetryAfter } from "./worker/errors.ts";
export type { WorkerOptions } from "./worker/options.ts";
export { Worker } from "./worker/worker.ts";
