/** The public API. What is not exported here may change at any time. */
export type { Lifecycle, LifecycleEvents, ReleaseReason, Trouble } from "./actors/lifecycle.ts";
export type { ListReply } from "./actors/request-api.ts";
export { Supervisor, type SupervisorOptions } from "./actors/supervisor.ts";
export { Bus, type BusOptions } from "./bus/connection.ts";
export type { Invocation } from "./bus/invocation.ts";
export { type EmbeddedServer, type EmbeddedServerOptions, startEmbeddedServer } from "./bus/server/embedded-server.ts";
export type { TopologyOptions } from "./bus/topology.ts";
export { Client, type ListRequest, type RunOptions, type WaitOptions } from "./client/client.ts";
export type { SubmitManyOptions, SubmitOptions, SubmitOutcome } from "./client/submission.ts";
export type { WorkerView } from "./client/workers.ts";
export { type Bridge, type BridgeOptions, startBridge } from "./http/bridge.ts";
export type { Encoding } from "./job/encoding.ts";
export {
  AsyncError,
  type ErrorCode,
  InvalidInputError,
  isAsyncError,
  JobFailedError,
  type Reason,
} from "./job/errors.ts";
export type { JobEvent, RejectedEvent } from "./job/events.ts";
export type { Backoff, FunctionSpec, RetryOptions, Submission } from "./job/schema.ts";
export type { Failure, StateName, WaitReason } from "./job/state.ts";
export type { FunctionView, JobView } from "./job/view.ts";
export { VERSION } from "./version.ts";
export type { Context, Handler } from "./worker/context.ts";
export { FatalError, RetryAfter } from "./worker/errors.ts";
export { Worker, type WorkerOptions } from "./worker/worker.ts";
