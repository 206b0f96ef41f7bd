import { monitorEventLoopDelay } from "node:perf_hooks";
import { suite } from "uvu";
import { System } from "../support/system.ts";
const test = suite("block");
let system: System;
test.before(async () => {
  system = await System.start({});
  await system.worker((w) => w.func("echo", ({ args }) => args), { concurrency: 200 });
});
test.after(() => system.close());
const data = { l: Array.from({ length: 40_000 }, (_, n) => n) };
test("items", async () => {
  const h = monitorEventLoopDelay({ resolution: 5 }); h.enable();
  const view = await system.client.run({ name: "x", data, functions: [{ for_each: 40, concurrency: 40, name: "echo", args: { $: "data.l.filter(x, x > item).size()" } }] }, { timeoutMs: 60_000 });
  h.disable(); console.log("items: longest block ms", h.max / 1e6, JSON.stringify(view).slice(0, 80));
});
test("entries", async () => {
  const h = monitorEventLoopDelay({ resolution: 5 }); h.enable();
  const functions = Array.from({ length: 40 }, () => ({ name: "echo", needs: [], args: { $: "data.l.filter(x, x > 5).size()" } }));
  const view = await system.client.run({ name: "x", data, functions }, { timeoutMs: 60_000 });
  h.disable(); console.log("entries: longest block ms", h.max / 1e6, view);
});
test("when", async () => {
  const h = monitorEventLoopDelay({ resolution: 5 }); h.enable();
  const functions = Array.from({ length: 40 }, () => ({ name: "echo", needs: [], when: "data.l.filter(x, x > 5).size() > 5"  }));
  const view = await system.client.run({ name: "x", data, functions }, { timeoutMs: 60_000 });
  h.disable(); console.log("when: longest block ms", h.max / 1e6, view);
});
test.run();
