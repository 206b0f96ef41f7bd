/** Squares its items, and says when it can be used: a process to be killed. */
import { pino } from "pino";
import { Worker } from "../../src/worker/worker.ts";

const worker = new Worker({ url: process.env.NATS_URL ?? "", log: pino({ level: "silent" }), heartbeatMs: 300 });
await worker.func("square", ({ item }) => item * item).start({ concurrency: 100 });
process.stdout.write("serving\n");
