/**
 * Monthly billing: an invoice for each of many numbers, by one entry with `for_each`. In the middle the supervisor and a worker are killed
 * (`kill -9`), and started again: each number has exactly one invoice all the same.
 *
 *   node --import tsx examples/billing.ts 200000
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { Bus, Client, type JobDocument, Supervisor, startEmbeddedServer, Worker } from "async";
import { quiet } from "./playground.ts";

const NUMBERS = Number(process.argv[2] ?? 10_000);
/** Short, so that a job whose supervisor was killed goes on soon. */
const LEASE_MS = 2_000;

const centsOf = (number: number) => 1_000 + ((number * 7_919) % 5_000);

/** This file is the supervisor and the workers, too: each a process of its own. */
async function play(role: string, url: string): Promise<void> {
  // It ends when the process that has started it does.
  process.on("disconnect", () => process.exit());
  if (role === "supervisor") await Supervisor.start(await Bus.open({ url, name: role }));
  else
    await new Worker({ url, log: quiet })
      .func("invoice", ({ item }) => delay(5, { number: item, cents: centsOf(item) }))
      .start({ concurrency: 200 });
  process.send?.("ready");
}

async function start(role: "supervisor" | "worker", url: string): Promise<ChildProcess> {
  const env = { ...process.env, BILLING_ROLE: role, BILLING_URL: url };
  const child = spawn(process.execPath, [...process.execArgv, fileURLToPath(import.meta.url)], {
    stdio: ["ignore", "inherit", "inherit", "ipc"],
    env,
  });
  await once(child, "message");
  return child;
}

async function main(): Promise<void> {
  const server = process.env.NATS_URL ? undefined : await startEmbeddedServer();
  const url = server?.url ?? (process.env.NATS_URL as string);
  await using bus = await Bus.open({ url, name: "billing" });
  const client = new Client(bus);
  // The first one to start makes the streams, and with them the lease; the others take it as they find it.
  await (await Supervisor.start(bus, { topology: { ackWaitMs: LEASE_MS } })).close();
  const processes = [await start("supervisor", url), await start("worker", url), await start("worker", url)];

  const month: JobDocument = {
    name: "billing",
    data: { month: "2026-11", numbers: NUMBERS },
    functions: [{ id: "invoices", name: "invoice", for_each: "data.numbers", concurrency: 200 }],
  };
  const { job_id } = await client.submit(month);
  const done = async () => (await client.get(job_id)).functions[0]?.items?.done ?? 0;
  let reached = await done();
  for (; reached < NUMBERS / 3; reached = await done()) await delay(20);
  if (reached === NUMBERS) throw new Error("it was through before anything could be killed: take more numbers");
  for (const one of processes.splice(0, 2)) one.kill("SIGKILL");
  console.log("killed: the supervisor and a worker, in the middle");
  processes.push(await start("supervisor", url), await start("worker", url));

  const job = await client.wait(job_id, { timeoutMs: 600_000 });
  console.log(job.state, JSON.stringify(job.functions[0]?.items));
  const seen = new Set<number>();
  let cents = 0;
  let cursor: string | undefined;
  do {
    const page = await client.items(job_id, "invoices", { limit: 1_000, ...(cursor !== undefined && { cursor }) });
    for (const { result } of page.items) {
      const invoice = result as { number: number; cents: number };
      if (seen.has(invoice.number)) throw new Error(`two invoices for ${invoice.number}`);
      seen.add(invoice.number);
      cents += invoice.cents;
    }
    cursor = page.next;
  } while (cursor !== undefined);
  const due = Array.from({ length: NUMBERS }, (_, number) => centsOf(number)).reduce((a, b) => a + b, 0);
  console.log(`${seen.size} invoices, ${cents === due ? "none missing, none twice" : `${cents} cents, not ${due}`}`);

  for (const one of processes) one.kill("SIGKILL");
  await server?.close();
}

const { BILLING_ROLE, BILLING_URL } = process.env;
if (BILLING_ROLE && BILLING_URL) await play(BILLING_ROLE, BILLING_URL);
else await main();

// Output:
// killed: the supervisor and a worker, in the middle
// completed {"count":10000,"done":10000,"failed":0}
// 10000 invoices, none missing, none twice
