/**
 * An approval with escalation: the job waits for a signal. If none comes in time, somebody else is asked, and waited for.
 *
 * Who approves sends the signal: `async signal <id> approval '{"approved":true,"by":"ann"}'`, or POST /v1/job/<id>/signal/approval.
 */
import { type JobDocument, Worker } from "async";
import { quiet, startPlayground } from "./playground.ts";

await using playground = await startPlayground();
const { client } = playground;
await using worker = new Worker({ url: playground.url, log: quiet })
  .func("ask", async ({ args, error, jobId }) => {
    console.log(`asked the ${args.who}${error ? `, because ${error.message}` : ""}`);
    // The manager is on holiday. The director answers at once.
    if (args.who === "director") await client.signal(jobId, "approval", { approved: true, by: "the director" });
  })
  .func("pay", ({ args, data }) => `${data.amount} paid, approved by ${args.by}`);
await worker.start();

const expense: JobDocument = {
  name: "expense",
  data: { amount: 1200 },
  functions: [
    { name: "ask", args: { who: "manager" } },
    { id: "first", wait_for: "approval", timeout_ms: 200, on_error: { name: "ask", args: { who: "director" } } },
    { id: "second", wait_for: "approval", when: "has(errors.first)", timeout_ms: 60_000 },
    { id: "decision", name: "pay", args: { by: { $: "skipped.second ? results.first.by : results.second.by" } } },
  ],
};
console.log(await client.run(expense));

// Output:
// asked the manager
// asked the director, because signal approval did not come within 200 ms
// 1200 paid, approved by the director
