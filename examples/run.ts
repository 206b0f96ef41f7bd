/** A job as a function call: submitted, and its result waited for. It goes on even if the caller dies meanwhile. */
import { JobFailedError, Worker } from "async";
import { quiet, startPlayground } from "./playground.ts";

await using playground = await startPlayground();
await using worker = new Worker({ url: playground.url, log: quiet })
  .func("add", ({ args }) => args[0] + args[1])
  .func("divide", ({ args }) => {
    if (args[1] === 0) throw new Error("division by zero");
    return args[0] / args[1];
  });
await worker.start();

const sum = await playground.client.run<number>({ name: "sum", functions: [{ name: "add", args: [1, 2] }] });
console.log("1 + 2 =", sum);
try {
  await playground.client.run({ name: "quotient", functions: [{ name: "divide", args: [1, 0] }] });
} catch (error) {
  if (!(error instanceof JobFailedError)) throw error;
  console.log(error.code, "because of a", error.failure?.message);
}

// Output:
// 1 + 2 = 3
// job_failed because of a division by zero
