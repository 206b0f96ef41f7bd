/**
 * A call of a large language model, with another model to fall back to: the first is tried again when it is overloaded, and its answer
 * must be as expected. What does not help in the end is given to the second model, which is told why.
 */
import { type JobDocument, Worker } from "async";
import { quiet, startPlayground } from "./playground.ts";

await using playground = await startPlayground();
await using worker = new Worker({ url: playground.url, log: quiet })
  // Stands for a service that answers as its question says.
  .func("large-model", ({ args, attempt }) => {
    if (args.question === "what is love?") throw new Error("overloaded");
    if (args.question === "6 x 9?" && attempt < 3) throw new Error("overloaded");
    return args.question === "6 x 9?" ? { answer: 54, confidence: 0.9 } : { answer: null, confidence: 0.1 };
  })
  .func("small-model", ({ error }) => ({ answer: "42", confidence: 0.5, because: error?.code }));
await worker.start();

const ask = (question: string): JobDocument => ({
  name: "ask",
  data: { question },
  functions: [
    {
      name: "large-model",
      args: { question: { $: "data.question" } },
      timeout_ms: 30_000,
      retry_options: { retry_limit: 3, backoff: { delay_ms: 20 } },
      expect: "result.answer != null && result.confidence > 0.8",
      on_error: { name: "small-model", args: { question: { $: "data.question" } }, timeout_ms: 10_000 },
    },
  ],
});
for (const question of ["6 x 9?", "what is love?", "what comes next?"]) {
  console.log(question, await playground.client.run(ask(question)));
}

// Output:
// 6 x 9? { answer: 54, confidence: 0.9 }
// what is love? { answer: '42', confidence: 0.5, because: 'function_failed' }
// what comes next? { answer: '42', confidence: 0.5, because: 'expectation_failed' }
