/**
 * Handlers that keep the event loop busy belong in a thread: the worker's heartbeats go on, and so do its other attempts.
 * A pool of threads (here piscina) takes them, and ends the thread when the signal fires.
 */
import { Worker } from "async";
import { Piscina } from "piscina";
import { quiet, startPlayground } from "./playground.ts";

// The thread's file: `export default (n) => …`, as JavaScript. See threads-task.js.
const pool = new Piscina({ filename: new URL("./threads-task.js", import.meta.url).href, maxThreads: 2 });

// Silence for three heartbeats is a lost attempt. Shorter ones than usual, so that this example takes two seconds.
const heartbeatMs = 200;
await using playground = await startPlayground({ heartbeatMs });
await using worker = new Worker({ url: playground.url, log: quiet, heartbeatMs })
  .func("count", ({ args, signal }) => pool.run(args, { signal }))
  .func("ping", () => "pong");
await worker.start();

const { job_id } = await playground.client.submit({ name: "busy", functions: [{ name: "count", args: 1_500 }] });
const { job_id: ping } = await playground.client.submit({ name: "ping", functions: [{ name: "ping" }] });
console.log((await playground.client.wait(ping)).result, "while the other is busy");
const job = await playground.client.wait(job_id);
console.log(job.result, "with", job.functions[0]?.lost_count ?? 0, "attempts lost");

// A cancelled job's thread is ended, however busy it is.
const { job_id: endless } = await playground.client.submit({ name: "endless", functions: [{ name: "count" }] });
while ((await playground.client.get(endless)).state !== "running");
console.log((await playground.client.cancel(endless)).state);
await pool.destroy();

// Output:
// pong while the other is busy
// counted for 1500 ms with 0 attempts lost
// cancelled
