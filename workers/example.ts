/** The worker of the original system, and a function that takes args. Serve it with `npx async worker workers/example.ts`. */
import { setTimeout as delay } from "node:timers/promises";
import { type Context, FatalError, Worker } from "async";

export default new Worker({ name: "example" })
  .func("/v1/say-hello-world", () => {
    process.stdout.write("Hello World !\n");
  })
  .func("/v1/test-1", async ({ signal, heartbeat }) => {
    await delay(500, undefined, { signal });
    heartbeat({ percent: 50 });
    await delay(500, undefined, { signal });
  })
  .func("/v1/test-2", () => "test-2 was here")
  .func("/v1/test-fail", async ({ attempt, signal }) => {
    await delay(1_000, undefined, { signal });
    throw new Error(`test-fail fails, as it should, in attempt ${attempt}`);
  })
  .func("sum", ({ args }: Context<number[]>) => {
    if (!Array.isArray(args) || !args.every(Number.isFinite)) throw new FatalError("sum takes an array of numbers");
    return args.reduce((sum, number) => sum + number, 0);
  });
