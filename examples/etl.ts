/**
 * Extract, transform, load: 30,000 files are listed by a function, page by page, and loaded in slices of a hundred. No process has the whole
 * list in memory, and a slice that fails is loaded again by itself.
 */
import { Worker } from "async";
import { quiet, startPlayground } from "./playground.ts";

const FILES = 30_000;
const PAGE = 1_000;

await using playground = await startPlayground();
const { client } = playground;
let failures = 0;
await using worker = new Worker({ url: playground.url, log: quiet })
  // As an object store lists its keys: a page, and where the next one begins.
  .func("list-files", ({ args, cursor }) => {
    const begin = (cursor as number | null) ?? 0;
    const end = Math.min(begin + PAGE, FILES);
    const items = Array.from({ length: end - begin }, (_, at) => `${args.bucket}/${begin + at}.csv`);
    return end < FILES ? { items, cursor: end } : { items };
  })
  .func("load", ({ item, attempt }) => {
    const files = item as string[];
    if (attempt === 1 && files[0]?.endsWith("00.csv") && failures++ < 3) throw new Error("the database is busy");
    return files.length;
  })
  .func("report", ({ args }) => `${args.files} files in ${args.slices} slices`);
await worker.start({ concurrency: 20 });

console.log(
  await client.run({
    name: "etl",
    data: { bucket: "sales" },
    functions: [
      {
        id: "load",
        for_each: { name: "list-files", args: { bucket: { $: "data.bucket" } } },
        slice: 100,
        name: "load",
        concurrency: 20,
        retry_options: { retry_limit: 3, backoff: { delay_ms: 50 } },
      },
      {
        name: "report",
        args: { slices: { $: "size(results.load)" }, files: { $: "size(results.load) * 100" } },
      },
    ],
  }),
);

// Output:
// 30000 files in 300 slices
