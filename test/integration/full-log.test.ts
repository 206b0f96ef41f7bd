/** Where standard output or standard error leads to a disk that is full. */
import { spawn } from "node:child_process";
import { existsSync, openSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { System } from "../support/system.ts";
import { eventually } from "../support/waiting.ts";

const FULL = "/dev/full";
const test = suite("full log");

function cli(args: string[], stdio: ("pipe" | "ignore" | number)[], env: Record<string, string> = {}) {
  const child = spawn(process.execPath, ["--import", "tsx", "src/cli/main.ts", ...args], {
    stdio: stdio as ["ignore"],
    env: { ...process.env, ...env },
  });
  const exit = new Promise<number | null>((resolve) => child.once("exit", resolve));
  return { child, exit };
}

if (existsSync(FULL)) {
  for (const format of ["json", "pretty"]) {
    test(`a server whose log (${format}) cannot be written does its jobs all the same, and drains`, async () => {
      const system = await System.start("without supervisor");
      const env = { ASYNC_LOG_FORMAT: format, ASYNC_LOG_LEVEL: "debug" };
      const args = ["server", "--nats", system.url, "--no-http"];
      const { child, exit } = cli(args, ["ignore", "ignore", openSync(FULL, "w")], env);
      try {
        await system.worker((w) => w.func("one", () => 1));
        await eventually("it does a job", () => system.client.run({ name: "x", functions: [{ name: "one" }] }), 20_000);
        child.kill("SIGTERM");
        assert.is(await exit, 0);
      } finally {
        child.kill("SIGKILL");
        await system.close();
      }
    });
  }

  test("a command that cannot write its answer says so, without a stack, and exits with 1", async () => {
    const { child, exit } = cli(["--help"], ["ignore", openSync(FULL, "w"), "pipe"]);
    let told = "";
    child.stderr?.on("data", (text) => {
      told += text;
    });
    assert.is(await exit, 1);
    assert.match(told, /^async: cannot write to standard output: ENOSPC[^\n]*\n$/);
  });
}

test.run();
