/** A worker with many functions, each of which tells who has executed it. */
import { Worker } from "async";
import { FAN_FUNCTIONS, fanFunction } from "./names.ts";

const worker = new Worker({ name: "bench-fan" });
for (let number = 0; number < FAN_FUNCTIONS; number++) {
  worker.func(fanFunction(number), ({ args }) => ({ sum: args[0] + args[1], pid: process.pid }));
}

export default worker;
