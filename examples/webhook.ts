/**
 * Webhooks, retried for a time instead of a number of times: `retry_for_ms`, with a backoff that grows. Where that does not help, another
 * entry runs in place. Three days pass in the tests (test/unit/webhook.test.ts); here it is half a second.
 */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { Worker } from "async";
import { quiet, startPlayground } from "./playground.ts";
import { webhookJob } from "./webhook-job.ts";

await using playground = await startPlayground();
await using worker = new Worker({ url: playground.url, log: quiet })
  .func("deliver", async ({ args, idempotencyKey, signal }) => {
    const headers = { "content-type": "application/json", "idempotency-key": idempotencyKey };
    const answer = await fetch(args.url, { method: "POST", headers, body: JSON.stringify(args.body), signal });
    if (!answer.ok) throw new Error(`the receiver answered ${answer.status}`);
    return "delivered";
  })
  .func("disable-webhook", ({ args }) => `given up: ${args.why}`);
await worker.start();

// A receiver that is out of order for its first three requests at /shaky, and for ever at /broken.
let requests = 0;
const receiver = createServer(({ url }, answer) => {
  requests += 1;
  answer.statusCode = url === "/shaky" && requests > 3 ? 200 : 503;
  answer.end();
});
await new Promise<void>((resolve) => receiver.listen(0, "127.0.0.1", resolve));
const { port } = receiver.address() as AddressInfo;

for (const path of ["/shaky", "/broken"]) {
  const job = webhookJob(`http://127.0.0.1:${port}${path}`, { forMs: 500, delayMs: 10, maxDelayMs: 100 });
  console.log(path, "is", await playground.client.run(job));
}
receiver.closeAllConnections();
receiver.close();

// Output:
// /shaky is delivered
// /broken is given up: the receiver answered 503
