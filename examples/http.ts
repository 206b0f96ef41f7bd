/** The HTTP bridge: the four routes of the original system. */
import { startBridge, Worker } from "async";
import { quiet, startPlayground } from "./playground.ts";

await using playground = await startPlayground();
await using worker = new Worker({ url: playground.url, log: quiet, name: "adder" }).func("sum", ({ args }) =>
  args.reduce((sum: number, number: number) => sum + number, 0),
);
await worker.start();
const bridge = await startBridge({ client: playground.client, port: 0 });

const body = JSON.stringify({ name: "sum", functions: [{ name: "sum", args: [1, 2, 3] }] });
const posted = await fetch(`${bridge.url}/v1/job`, {
  method: "POST",
  headers: { "content-type": "application/json" },
  body,
});
const { job_id } = (await posted.json()) as { job_id: string };
await playground.client.wait(job_id);
const { Job } = (await (await fetch(`${bridge.url}/v1/job/${job_id}`)).json()) as {
  Job: { state: string; result: number };
};
const { Workers } = (await (await fetch(`${bridge.url}/v1/worker`)).json()) as {
  Workers: { Name: string; Capabilities: string[] }[];
};
console.log(posted.status, Job.state, Job.result);
console.log(Workers.map((one) => `${one.Name} serves ${one.Capabilities}`).join());
await bridge.close();

// Output:
// 200 completed 6
// adder serves sum
