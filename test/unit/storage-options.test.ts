/** The options of `async server` and `async dev` that say how much is kept. */
import { tmpdir } from "node:os";
import { Command } from "commander";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { fittedTo, type StorageFlags, storageFrom, withStorage } from "../../src/cli/storage-options.ts";

function parse(...args: string[]): StorageFlags {
  return withStorage(new Command().exitOverride().configureOutput({ writeErr: () => {} }))
    .parse(args, { from: "user" })
    .opts();
}

test("limits are bytes with a unit, times have one too", () => {
  const flags = parse("--state-max-bytes", "500M", "--events-max-age", "12h", "--retention", "2d", "--replicas", "3");
  assert.equal(storageFrom(flags), {
    topology: { replicas: 3, stateMaxBytes: 500 * 1024 ** 2, eventsMaxAgeMs: 12 * 3_600_000 },
    retentionMs: 2 * 86_400_000,
  });
  assert.equal(storageFrom(parse("--store-completed")).topology, { storeCompleted: true });
  assert.equal(storageFrom(parse()), { topology: {} });
});

test("what is none is refused", () => {
  for (const args of [
    ["--state-max-bytes", "much"],
    ["--jobs-max-bytes", "-1"],
    ["--retention", "7"],
    ["--replicas", "0"],
  ]) {
    assert.throws(() => parse(...args), /must be/);
  }
});

test("the environment counts where no flag is given", () => {
  process.env.ASYNC_STATE_MAX_BYTES = "1G";
  try {
    assert.is(storageFrom(parse()).topology?.stateMaxBytes, 1024 ** 3);
    assert.is(storageFrom(parse("--state-max-bytes", "2G")).topology?.stateMaxBytes, 2 * 1024 ** 3);
  } finally {
    delete process.env.ASYNC_STATE_MAX_BYTES;
  }
});

test("in dev the streams fit the disk, and what was asked for stands", async () => {
  const { jobsMaxBytes = 0, stateMaxBytes = 0, eventsMaxBytes = 0 } = await fittedTo(tmpdir(), {});
  assert.ok(jobsMaxBytes + stateMaxBytes + eventsMaxBytes <= 6 * 1024 ** 3);
  assert.ok(Math.min(jobsMaxBytes, stateMaxBytes, eventsMaxBytes) >= 1024 ** 2);
  assert.is((await fittedTo(tmpdir(), { stateMaxBytes: 7 })).stateMaxBytes, 7);
});

test.run();
