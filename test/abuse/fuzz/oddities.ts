/** Values, texts, bytes and headers as nobody should send them, from a seed. */
import { Packr } from "msgpackr";
import type { Random } from "../../simulation/random.ts";

const packr = new Packr({ useRecords: false });
const clonePackr = new Packr({ structuredClone: true, moreTypes: true, useRecords: true });

export function oddText(random: Random): string {
  return random.pick([
    () => "",
    () => " ",
    () => "x".repeat(random.int(1, 300)),
    () => "..",
    () => "a.b.c",
    () => ">",
    () => "*",
    () => "__proto__",
    () => "constructor",
    () => "\u0000",
    () => "\ud800",
    () => "é漢😀",
    () => "‮",
    () => "1e999",
    () => "%{x}",
    () => "../../etc/passwd",
    () => "seq-1",
    () => `seq-${random.int(0, 99)}`,
    () => `auto-${random.int(0, 99)}`,
    () => String(random.int(-5, 5)),
  ])();
}

export function oddNumber(random: Random): number {
  return random.pick([0, -0, -1, 0.5, 1e308, -1e308, 2 ** 31, 2 ** 53 - 1, -(2 ** 53) + 1, 5e-324, random.int(0, 100)]);
}

/** A value that JSON can carry, `depth` levels deep at most. */
export function oddValue(random: Random, depth = 3): unknown {
  const inside = (): unknown => oddValue(random, depth - 1);
  const simple = [() => null, () => true, () => oddNumber(random), () => oddText(random)];
  if (depth === 0) return random.pick(simple)();
  return random.pick<() => unknown>([
    ...simple,
    () => Array.from({ length: random.int(0, 5) }, inside),
    () => Object.fromEntries(Array.from({ length: random.int(0, 5) }, () => [oddText(random), inside()])),
    () => JSON.parse(`{"__proto__":${JSON.stringify(inside())},"toString":1}`),
  ])();
}

const nested = (open: string, close: string, count: number) => open.repeat(count) + close.repeat(count);

const many = (make: (index: number) => string, count = 10_000) =>
  Array.from({ length: count }, (_, i) => make(i)).join("");

/** What may be no message of ours at all. */
export function oddBytes(random: Random): Buffer {
  return random.pick<() => Buffer>([
    () => Buffer.alloc(0),
    () => Buffer.from(Array.from({ length: random.int(1, 60) }, () => random.int(0, 255))),
    () => Buffer.from(JSON.stringify(oddValue(random)) ?? ""),
    () => packr.pack(oddValue(random)),
    () => clonePackr.pack({ name: new Set([1]), functions: new Map([[{}, new Date(0)]]), x: new Error("x"), y: /x/g }),
    () => clonePackr.pack(cyclicArray()),
    () => packr.pack({ functions: 2n ** 63n - 1n, name: -(2n ** 63n) }),
    () => Buffer.from(nested("[", "]", random.pick([10, 199, 201, 5_000, 100_000]))),
    () => Buffer.from(nested('{"a":', "}", random.pick([10, 201, 5_000])).replace("}", "1}")),
    () => Buffer.alloc(random.pick([10, 201, 5_000, 100_000]), 0x91),
    () => Buffer.from([0xdd, 0xff, 0xff, 0xff, 0xff, 1]),
    () => Buffer.from([0xdf, 0xff, 0xff, 0xff, 0xff, 0xa1]),
    () => Buffer.from([0xc6, 0x7f, 0xff, 0xff, 0xff]),
    () => Buffer.from([0xc9, 0, 0, 0, 5, 0x72, 1, 2, 3, 4, 5]),
    () => Buffer.from([0xd4, 0x72, 0x40]),
    () => Buffer.from("﻿{}"),
    () => Buffer.from(`{"name":"x","functions":[{"name":"honest","args":${"9".repeat(random.int(17, 400))}}]}`),
    () => Buffer.from('{"name":"x","functions":[{"name":"honest","args":1e999}]}'),
    () => Buffer.from(`{"name":"x","functions":[{"name":"honest","args":{${many((i) => `"${i}":0,`)}"x":1}}]}`),
    () => Buffer.from(`{${many((i) => `"unknown-${i}":0,`)}"functions":[${many(() => "7,")}8]}`),
    () => Buffer.from(`{"name":"x","functions":[${many(() => '{"name":""},', 1_500)}{"name":7}]}`),
    () => Buffer.from(`{"functions":[${many((i) => `"f${i}",`)}"x"],"slots":1e300}`),
    () => Buffer.from(`"${"x".repeat(random.int(1, 100_000))}"`),
  ])();
}

function cyclicArray(): unknown[] {
  const value: unknown[] = [];
  value.push(value);
  return value;
}

/** The same with some bytes changed, left out or put in. */
export function mutated(random: Random, bytes: Buffer): Buffer {
  const parts = [...bytes];
  for (let i = random.int(1, 4); i > 0; i--) {
    const at = random.int(0, parts.length);
    const change = random.int(0, 2);
    if (change === 0) parts[at] = random.int(0, 255);
    else if (change === 1) parts.splice(at, random.int(1, 8));
    else parts.splice(at, 0, random.int(0, 255));
  }
  return Buffer.from(parts);
}

const HEADER_NAMES = [
  "Async-Status",
  "Async-Heartbeat-Ms",
  "Async-Results-At",
  "Async-Repeated",
  "Nats-Service-Error",
  "Nats-Service-Error-Code",
  "Content-Type",
  "Nats-Msg-Id",
  "Nats-TTL",
  "Nats-Schedule",
  "Nats-Schedule-Target",
  "Nats-Rollup",
  "Nats-Expected-Stream",
  "Nats-Expected-Last-Sequence",
  "Nats-Expected-Last-Subject-Sequence",
  "Nats-Pending-Messages",
  "Nats-Marker-Reason",
  "KV-Operation",
  "Status",
  "x",
];

const HEADER_VALUES = [
  "",
  "heartbeat",
  "0",
  "-1",
  "1",
  "20",
  "1e999",
  "NaN",
  "429",
  "500",
  "sub",
  "all",
  "DEL",
  "PURGE",
  "MaxAge",
  "application/msgpack",
  "@every 1s",
  "@at 9999-12-31T23:59:59Z",
  "job.submit",
  "99999999999999999999",
];

/** Blocks of headers as they stand on the wire; some that cannot be read. */
export function oddHead(random: Random): string {
  const lines = () => {
    let text = "";
    for (let i = random.int(0, 4); i >= 0; i--) {
      const value = random.chance(0.2) ? oddText(random).replaceAll(/[\r\n]/g, "") : random.pick(HEADER_VALUES);
      text += `${random.pick(HEADER_NAMES)}: ${value}\r\n`;
    }
    return text;
  };
  return random.pick([
    () => `NATS/1.0\r\n${lines()}\r\n`,
    () => `NATS/1.0\r\n${lines()}\r\n`,
    () => `NATS/1.0\r\n${lines()}\r\n`,
    () => "NATS/1.0\r\nbad key: x\r\n\r\n",
    () => "NATS/1.0\r\n: x\r\n\r\n",
    () => "NATS/1.0\r\nno colon\r\n\r\n",
    () => "NATS/1.0\r\n\r\n",
    () => "NATS/1.0",
    () =>
      `NATS/1.0 ${random.pick(["100", "404", "408", "409", "503", "abc", ""])} ${oddText(random).replaceAll(/[\r\n]/g, "")}\r\n\r\n`,
    () => `NATS/1.0 409 Message Size Exceeds MaxBytes\r\nNats-Pending-Messages: 1\r\nNats-Pending-Bytes: x\r\n\r\n`,
    () => `HTTP/1.1 200 OK\r\n\r\n`,
    () => `NATS/1.0\r\n${many((i) => `${i.toString(36)}:\r\n`)}\r\n`,
    () =>
      `NATS/1.0\r\nNats-Sequence: 1\r\nNats-Last-Sequence: 0\r\nNats-Subject: $KV.jobs.x\r\nNats-Time-Stamp: x\r\n\r\n`,
    () => `NATS/1.0\r\n${"y".repeat(3_000)}: ${"z".repeat(3_000)}\r\n\r\n`,
    () => `NATS/1.0\r\nx: 1\r\nx: 2\r\nX: 3\r\n\r\n`,
    () => `NATS/1.0\r\nÿþ: \xff\xfe\r\n\r\n`,
  ])();
}

/** Most of them are jobs that can be executed. `names` are served functions. */
export function oddJob(random: Random, names: readonly string[]): Record<string, unknown> {
  const fn = () => {
    const one: Record<string, unknown> = { name: random.pick(names) };
    if (random.chance(0.7)) one.args = oddValue(random);
    if (random.chance(0.4)) one.timeout_ms = random.pick([1, 50, 500, 2_000]);
    if (random.chance(0.4)) {
      one.retry_options = {
        retry_limit: random.int(1, 4),
        backoff: { type: random.pick(["fixed", "exponential"]), delay_ms: random.int(1, 300) },
      };
    }
    return one;
  };
  const job: Record<string, unknown> = {
    name: random.chance(0.8) ? "fuzz" : oddText(random),
    functions: Array.from({ length: random.int(1, 3) }, fn),
  };
  if (random.chance(0.5)) job.data = oddValue(random);
  if (random.chance(0.3)) job.timeout_ms = random.pick([1, 100, 3_000]);
  if (random.chance(0.2)) job.notify = random.pick(["fuzz", oddText(random)]);
  if (random.chance(0.2)) job.scheduled_at = random.pick(SCHEDULES)();
  if (random.chance(0.1)) job.job_id = oddText(random);
  if (random.chance(0.15)) spoil(random, job);
  return job;
}

const SCHEDULES = [
  () => new Date(Date.now() + 500).toISOString(),
  () => new Date(Date.now() - 500).toISOString(),
  () => "9999-12-31T23:59:59-23:59",
  () => "+275760-09-13T00:00:00Z",
  () => "1970-01-01T00:00:00Z",
  () => new Date(Date.now() + 3_600_000).toISOString(),
  () => "2030-02-30T25:61:61Z",
];

/** One of its fields, wherever it is, becomes something else. */
function spoil(random: Random, object: Record<string, unknown>): void {
  const keys = Object.keys(object);
  const key = random.chance(0.2) ? oddText(random) : random.pick(keys);
  const value = object[key];
  const within = Array.isArray(value) ? value[0] : value;
  if (typeof within === "object" && within !== null && random.chance(0.6))
    spoil(random, within as Record<string, unknown>);
  else object[key] = oddValue(random);
}

export function encoded(random: Random, value: unknown): Buffer {
  return random.chance(0.7) ? Buffer.from(JSON.stringify(value)) : packr.pack(value);
}
