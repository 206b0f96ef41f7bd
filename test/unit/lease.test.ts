/** When a lease is good, by clocks that are set by hand. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Lease } from "../../src/actors/lease.ts";
import type { Receipt } from "../../src/bus/tokens/delivery.ts";
import type { Mux } from "../../src/bus/wire/mux.ts";

const ACK_WAIT_MS = 10_000;
const real = { wall: Date.now, monotonic: performance.now };
let wall = 0;
let monotonic = 0;

test.before.each(() => {
  wall = 1_000_000_000;
  monotonic = 5_000;
  Date.now = () => wall;
  performance.now = () => monotonic;
});
test.after.each(() => {
  Date.now = real.wall;
  performance.now = real.monotonic;
});

function pass(ms: number, clocks: { wall: boolean; monotonic: boolean } = { wall: true, monotonic: true }): void {
  if (clocks.wall) wall += ms;
  if (clocks.monotonic) monotonic += ms;
}

/** A receipt whose extensions are confirmed after `meanwhile`. */
function receipt(meanwhile: () => void = () => {}): Receipt {
  return { stream: "JOBS", sequence: 1, working: async () => meanwhile() } as unknown as Receipt;
}

const leaseOf = (meanwhile?: () => void) => new Lease(0, receipt(meanwhile), ACK_WAIT_MS);
const mux = {} as Mux;

test("a lease is good until its time is over, and from its extension on for as long again", async () => {
  const lease = leaseOf();
  pass(ACK_WAIT_MS - 1);
  assert.ok(lease.valid);
  await lease.extend(mux);
  pass(ACK_WAIT_MS - 1);
  assert.ok(lease.valid);
  pass(1);
  assert.not.ok(lease.valid);
});

test("a suspended machine, whose monotonic clock stands still, has lost its lease", async () => {
  const lease = leaseOf();
  pass(ACK_WAIT_MS, { wall: true, monotonic: false });
  assert.not.ok(lease.valid);
  assert.ok(lease.adopt(0, receipt()), "it is delivered again");
  assert.ok(lease.valid);
});

test("the same if it is suspended while the extension is on its way", async () => {
  const lease = leaseOf(() => pass(ACK_WAIT_MS, { wall: true, monotonic: false }));
  await lease.extend(mux);
  assert.not.ok(lease.valid);
});

test("a confirmation that comes when it has run out may be that of another's lease: it stays run out", async () => {
  const lease = leaseOf(() => pass(2, { wall: true, monotonic: true }));
  pass(ACK_WAIT_MS - 1);
  await lease.extend(mux);
  assert.not.ok(lease.valid);
});

test("a wall clock that stands still or is set back makes no lease longer", () => {
  const lease = leaseOf();
  pass(ACK_WAIT_MS, { wall: false, monotonic: true });
  assert.not.ok(lease.valid);
  const other = leaseOf();
  wall -= 3_600_000;
  assert.ok(other.valid);
  pass(ACK_WAIT_MS);
  assert.not.ok(other.valid);
});

test.run();
