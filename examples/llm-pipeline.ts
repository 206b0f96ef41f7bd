/**
 * A pipeline with five megabytes of results in sum: ten documents are read and summarized. Each result fits into a message, all together do not:
 * they are stored besides the job, and each call is handed what it needs.
 */
import { type FunctionSpec, Worker } from "async";
import { quiet, startPlayground } from "./playground.ts";

const DOCUMENTS = 10;
const LENGTH = 500_000;

await using playground = await startPlayground();
const { client } = playground;
await using worker = new Worker({ url: playground.url, log: quiet })
  .func("read", ({ args }) => `document ${args.number}: `.padEnd(LENGTH, "word "))
  .func("summarize", ({ results }) => {
    const [text] = results as [string];
    return { text: text.slice(0, 10), characters: text.length };
  })
  .func("join", ({ results }) => {
    const summaries = results as { characters: number }[];
    return `${summaries.length} summaries of ${summaries.reduce((sum, { characters }) => sum + characters, 0)} characters`;
  });
await worker.start({ concurrency: 4 });

const numbers = Array.from({ length: DOCUMENTS }, (_, index) => index + 1);
const functions: FunctionSpec[] = [
  ...numbers.map((number) => ({ id: `read_${number}`, needs: [], name: "read", args: { number } })),
  ...numbers.map((number) => ({ id: `sum_${number}`, needs: [`read_${number}`], name: "summarize" })),
  { name: "join", needs: numbers.map((number) => `sum_${number}`) },
];
const { job_id } = await client.submit({ name: "pipeline", functions });
const job = await client.wait(job_id);
console.log(job.state, job.result);

const omitted = job.functions.filter(({ result_omitted }) => result_omitted).length;
console.log(omitted > 0, "some results are to be had one by one:");
console.log(((await client.result(job_id, "read_3")) as string).slice(0, 10));

// Output:
// completed 10 summaries of 5000000 characters
// true some results are to be had one by one:
// document 3
