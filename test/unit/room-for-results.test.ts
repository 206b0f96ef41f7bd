/** Whether results may be stored: once they might not, what was read before is read again first. */
import { setTimeout as delay } from "node:timers/promises";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { RoomForResults } from "../../src/actors/room-for-results.ts";
import { eventually } from "../support/waiting.ts";

const test = suite("room for results");

function rig(full: boolean) {
  const store: { storage: { full: boolean } } = { storage: { full } };
  const log: string[] = [];
  let letGo: () => void = () => undefined;
  const reads = new Promise<void>((resolve) => {
    letGo = resolve;
  });
  const book = {
    readAgain: () => {
      log.push("read");
      return reads;
    },
  };
  const onFault = (error: unknown) => {
    log.push(String(error));
  };
  const room = new RoomForResults(store as never, book, { onFault }, () => log.push(`look ${room.isFull}`));
  return { store, log, room, letGo: () => letGo() };
}

test("where there was room all along nothing is read again", () => {
  const { room, log } = rig(false);
  assert.is(room.isFull, false);
  assert.equal(log, []);
  room.close();
});

test("once there is room again there is none until all has been read again", async () => {
  const { store, room, log, letGo } = rig(true);
  assert.is(room.isFull, true);
  store.storage.full = false;
  assert.is(room.isFull, true);
  await eventually("the log", () => log.includes("read"));
  assert.is(room.isFull, true);
  letGo();
  await eventually("the log", () => log.length === 2);
  assert.equal(log, ["read", "look false"]);
  room.close();
});

test("as long as there is none it is looked again and again", async () => {
  const { store, room, log, letGo } = rig(true);
  letGo();
  assert.is(room.isFull, true);
  await eventually("the log", () => log.length > 0);
  assert.equal(log, ["look true"]);
  store.storage.full = false;
  await eventually("the log", () => log.length === 3);
  assert.equal(log, ["look true", "read", "look false"]);
  room.close();
});

test("who is closed is told nothing more", async () => {
  const { store, room, log, letGo } = rig(true);
  assert.is(room.isFull, true);
  store.storage.full = false;
  await eventually("the log", () => log.includes("read"));
  room.close();
  letGo();
  await delay(20);
  assert.equal(log, ["read"]);
});

test.run();
