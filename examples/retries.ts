/** Retries with backoff, an error that is final, and one that says when to try again. */
import { FatalError, RetryAfter, Worker } from "async";
import { quiet, startPlayground } from "./playground.ts";

await using playground = await startPlayground();
await using worker = new Worker({ url: playground.url, log: quiet })
  .func("flaky", ({ attempt }) => {
    if (attempt < 3) throw new Error("the network is down");
    return `worked in attempt ${attempt}`;
  })
  .func("busy", ({ attempt }) => {
    if (attempt === 1) throw new RetryAfter(200, "too many requests");
    return "served";
  })
  .func("hopeless", () => {
    throw new FatalError("there is no such account");
  });
await worker.start();

const backoff = { type: "exponential" as const, delay_ms: 50, factor: 2 };
for (const name of ["flaky", "busy", "hopeless"]) {
  const functions = [{ name, retry_options: { retry_limit: 5, backoff } }];
  const { job_id } = await playground.client.submit({ name, functions });
  const job = await playground.client.wait(job_id);
  console.log(name, job.state, "after", job.functions[0]?.retry_count, "executions:", job.result ?? job.error?.message);
}

// Output:
// flaky completed after 3 executions: worked in attempt 3
// busy completed after 2 executions: served
// hopeless failed after 1 executions: there is no such account
