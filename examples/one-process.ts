/** Supervisor and worker in one process, on one connection: invocations do not go over the bus. `async server mine.ts` does the same. */
import { Worker } from "async";
import { quiet, startPlayground } from "./playground.ts";

await using playground = await startPlayground();
await using worker = new Worker({ log: quiet })
  .func("here.add", ({ args }) => args[0] + args[1])
  .func("here.double", ({ results }) => 2 * Number(results[0]));
await worker.start({ bus: playground.bus, concurrency: 100 });

// A subscriber sees every invocation that goes over the bus: none.
let seen = 0;
playground.bus.nc.subscribe("fn.here.*", { callback: () => void seen++ });
const functions = [{ name: "here.add", args: [20, 1] }, { name: "here.double" }];
const { job_id } = await playground.client.submit({ name: "one process", functions });
const job = await playground.client.wait(job_id);
console.log(job.result, "with", seen, "invocations over the bus");

// Output:
// 42 with 0 invocations over the bus
