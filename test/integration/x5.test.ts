/** Families of jobs under attack: what is told late, what waits for what, and who takes all the room. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { System } from "../support/system.ts";
import { eventually } from "../support/waiting.ts";

const test = suite("attacks on families");
let system: System;

test.before(async () => {
  system = await System.start({ parkAfterMs: 300, maxLiveJobs: 20, roomWaitMs: 300 });
  await system.worker((w) =>
    w
      .func("echo", ({ args, data }) => args ?? data)
      .func("undo-it", () => null)
      .func("fail", () => {
        throw new Error("boom");
      }),
  );
});
test.after(() => system.close());

// biome-ignore lint/suspicious/noExplicitAny: the tests look into answers of several shapes
async function ask(subject: string, body: unknown = {}): Promise<any> {
  const reply = await system.bus.mux.request(subject, JSON.stringify(body), 5_000);
  return reply.json();
}

const stateOf = async (jobId: string) => (await ask(`job.get.${jobId}`)).state;
const ended = (jobId: string, timeoutMs = 30_000) => system.client.wait(jobId, { timeoutMs });

test("parents of items that end do not take the room that their children need to undo themselves", async () => {
  const ids = Array.from({ length: 30 }, (_, n) => `crowd-${n}`);
  for (const jobId of ids)
    await system.client.submit(
      {
        name: "crowd",
        functions: [{ for_each: 2, job: { functions: [{ name: "echo", undo: "undo-it" }, { sleep_ms: 3_600_000 }] } }],
      },
      { jobId },
    );
  await eventually(
    "all children sleep",
    async () => {
      let asleep = 0;
      for (const parent of ids) {
        const { jobs } = await ask("job.list", { parent });
        asleep += jobs.filter((job: { waiting_for: string }) => job.waiting_for === "sleep").length;
      }
      return asleep === 60;
    },
    60_000,
  );
  await Promise.all(ids.map((jobId) => ask(`job.cancel.${jobId}`)));
  
  await new Promise((r) => setTimeout(r, 25_000));
  const tally: Record<string, number> = {};
  for (const jobId of ids) {
    const st = (await system.supervisor.store.get(jobId))?.state as any;
    const line = `${st.state} live ${JSON.stringify(st.live?.map((b: any) => ({ w: b.wait, d: b.due_at && 1 })))} rested ${st.functions.at(0).items?.rested} token ${st.token}`;
    tally[line] = (tally[line] ?? 0) + 1;
    const { jobs } = await ask("job.list", { parent: jobId });
    for (const c of jobs) { const l = `child ${c.state} ${c.waiting_for}`; tally[l] = (tally[l] ?? 0) + 1; }
  }
  console.log(tally, "live here", system.supervisor.liveJobs);
});

test.run();
