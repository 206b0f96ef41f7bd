/** How graphile-worker is tuned: tried on two cores with 100 jobs at a time. */

/** Connections of a worker process. 10 were about as fast; 50 and 102 were slower, as PostgreSQL has a process for each. */
export const POOL = 20;
/** Jobs that a process takes with one statement: what its own load test uses. */
const LOCAL_QUEUE = 500;

/**
 * Its defaults for when it looks for jobs: it is told of new ones. `refetchDelay`, which is for many workers with little
 * to do, made no difference.
 */
export function workerOptions(concurrentJobs: number, localQueue: boolean): GraphileConfig.WorkerOptions {
  if (!localQueue) return { concurrentJobs };
  return { concurrentJobs, localQueue: { size: LOCAL_QUEUE }, completeJobBatchDelay: 0, failJobBatchDelay: 0 };
}
