/** Squares its items, each in a while, and says when it can be used: a process to be killed. */
import { setTimeout as delay } from "node:timers/promises";
import { pino } from "pino";
import { Worker } from "../../src/worker/worker.ts";

/** Long enough to be killed in the middle of many. */
const ITEM_MS = 25;

const worker = new Worker({ url: process.env.NATS_URL ?? "", log: pino({ level: "silent" }), heartbeatMs: 300 });
await worker.func("square", ({ item }) => delay(ITEM_MS, item * item)).start({ concurrency: 100 });
process.stdout.write("serving\n");
