/**
 * A plan made by a worker: the job asks what is to be done, and runs the answer as a child job. That is a document like any other: it is checked,
 * shown, and can be retried by itself. A plan that is none fails its entry, which says what is wrong with it.
 */
import { type JobDocument, JobFailedError, Worker } from "async";
import { quiet, startPlayground } from "./playground.ts";

await using playground = await startPlayground();
const { client } = playground;
await using worker = new Worker({ url: playground.url, log: quiet })
  // A language model might make it.
  .func("plan", ({ args }) => {
    if (args.goal === "nonsense") return { functions: [{ name: "think", wehn: "always" }] };
    return {
      name: `plan for ${args.goal}`,
      functions: [
        { id: "water", name: "step", needs: [], args: "boil water" },
        { id: "leaves", name: "step", needs: [], args: "take leaves" },
        { name: "step", needs: ["water", "leaves"], args: "wait five minutes" },
      ],
    };
  })
  .func("step", ({ args, results }) => [...results.flat(), args]);
await worker.start({ concurrency: 5 });

const agent = (goal: string): JobDocument => ({
  name: "agent",
  functions: [
    { id: "plan", name: "plan", args: { goal } },
    { id: "act", job: { $: "results.plan" } },
  ],
});

console.log(await client.run(agent("tea")));
try {
  await client.run(agent("nonsense"));
} catch (error) {
  if (!(error instanceof JobFailedError)) throw error;
  console.log(error.failure?.code, "did you mean when?", error.failure?.message.includes("did you mean when?"));
}

// Output:
// [ 'boil water', 'take leaves', 'wait five minutes' ]
// invalid_child did you mean when? true
