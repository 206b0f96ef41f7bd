import { suite } from "uvu";
import { System } from "../support/system.ts";
import { eventually } from "../support/waiting.ts";
const test = suite("full");
const troubles: Record<string, number> = {};
async function fill(functions: any[], what: string) {
  const system = await System.start({ topology: { stateMaxBytes: 4_000_000 }, parkAfterMs: 300, retentionMs: 5_000 });
  system.supervisor.lifecycle.on("trouble", ({ what, error }) => { const k = `${what}: ${String(error).slice(0, 120)}`; troubles[k] = (troubles[k] ?? 0) + 1; });
  await system.worker((w) => w.func("echo", ({ args, item }) => args ?? item).func("big", ({ item }) => "x".repeat(30_000) + item));
  try {
    await system.client.submit({ name: "innocent", functions: [{ wait_for: "x" }, { name: "echo", args: 1 }] }, { jobId: "innocent" });
    await system.client.submit({ name: "evil", functions }, { jobId: "evil" });
    const end = await system.client.wait("evil", { timeoutMs: 15_000 }).catch((e) => ({ state: String(e), error: undefined }));
    console.log(what, "evil:", end.state, JSON.stringify(end.error ?? null).slice(0, 200));
    const sig = await system.client.signal("innocent", "x", 1).then(() => "signalled", String);
    const inn = await system.client.wait("innocent", { timeoutMs: 10_000 }).then((v) => v.state, String);
    console.log(what, "innocent:", sig, inn);
    const cancel = await system.client.cancel("evil").then((v: any) => JSON.stringify(v).slice(0, 100), String);
    const evil = await system.client.wait("evil", { timeoutMs: 10_000 }).then((v) => v.state, String);
    console.log(what, "cancel evil:", cancel, evil);
    const inn2 = await system.client.wait("innocent", { timeoutMs: 10_000 }).then((v) => v.state, String);
    console.log(what, "innocent then:", inn2, troubles);
  } finally { await system.close(); }
}
test("items", () => fill([{ for_each: 400, name: "big" }], "items"));
test("children", () => fill([{ for_each: 400, concurrency: 200, job: { data: { $: "'x'" }, functions: [{ name: "big" }, { sleep_ms: 600_000 }, { name: "echo", args: "y".repeat(25_000) }] } }], "children"));
test.run();
