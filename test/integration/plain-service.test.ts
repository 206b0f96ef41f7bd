/** A service in a shell, which knows nothing of items or of undo, does both. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { inTempFolder } from "../support/folder.ts";
import { System } from "../support/system.ts";
import { within } from "../support/waiting.ts";

const test = suite("plain service");

test("a shell script without any client serves the items of an entry, and undoes them", async () => {
  await inTempFolder(async (folder) => {
    const system = await System.start();
    const log = join(folder, "log");
    const { port } = new URL(system.url);
    const service = spawn("bash", ["examples/plain-service.sh", "127.0.0.1", port], {
      stdio: ["ignore", "pipe", "inherit"],
      env: { ...process.env, LOG: log },
    });
    try {
      await within(10_000, "it serves", once(service.stdout, "data"));
      await system.worker((worker) =>
        worker.func("ship", () => {
          throw new Error("no truck");
        }),
      );
      const doubled = await system.client.run({ name: "plain", functions: [{ name: "double", for_each: 50 }] });
      assert.equal(
        doubled,
        Array.from({ length: 50 }, (_, n) => 2 * n),
      );

      const { job_id } = await system.client.submit({
        name: "plain undo",
        functions: [{ name: "double", for_each: 20, undo: "halve" }, { name: "ship" }],
      });
      const job = await system.client.wait(job_id);
      assert.is(job.state, "failed");
      assert.equal(job.undo, { state: "done", undone: 1, failed: 0, not_undone: 0 });
      const halved = (await readFile(log, "utf8"))
        .split("\n")
        .filter((line) => line.startsWith("fn.halve "))
        .map((line) => JSON.parse(line.slice("fn.halve ".length)) as { item: number; result: number; undo: boolean });
      assert.is(halved.length, 20);
      assert.ok(halved.every(({ item, result, undo }) => undo && result === 2 * item));
      assert.is(new Set(halved.map(({ item }) => item)).size, 20);
    } finally {
      service.kill("SIGKILL");
      await system.close();
    }
  });
});

test.run();
