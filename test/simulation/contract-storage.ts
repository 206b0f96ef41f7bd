/** The part of the contract that is about storage that is full: what a server refuses, and what makes room. */
import type { MsgHdrs } from "nats";
import { expectSequence, headersOf } from "../../src/bus/wire/headers.ts";
import { outcome, type Probe, type Scenario, type Stored, sleep } from "./probe.ts";

interface BucketInfo {
  config: Record<string, unknown>;
  state: { bytes: number };
}

async function bucketInfo(probe: Probe): Promise<BucketInfo> {
  const [info] = await probe.ask("$JS.API.STREAM.INFO.KV_jobs");
  return info?.json<BucketInfo>() ?? { config: {}, state: { bytes: Number.NaN } };
}

/** How full the bucket of states is. */
const bucket = async (probe: Probe) => (await bucketInfo(probe)).state;

/** Without a limit: as large as it may be again. */
async function limitBucket(probe: Probe, maxBytes = -1): Promise<void> {
  const { config } = await bucketInfo(probe);
  await probe.ask("$JS.API.STREAM.UPDATE.KV_jobs", JSON.stringify({ ...config, max_bytes: maxBytes }));
}

export const STORAGE_SCENARIOS: Scenario[] = [
  {
    name: "a bucket that is full refuses what is new, and what is larger than the value that it replaces",
    tell: async (probe) => {
      const key = (n: number) => `$KV.jobs.contract-full-${n}`;
      const { bytes } = await bucket(probe);
      const told: string[] = [];
      const store = async (n: number, length: number, headers?: MsgHdrs) => {
        const answer = await probe.store(key(n), "x".repeat(length), headers);
        told.push(`${n} of ${length}: ${outcome(answer)}`);
        return answer;
      };
      await store(1, 100, expectSequence(0));
      const size = (await bucket(probe)).bytes - bytes;
      await limitBucket(probe, bytes + 2 * size + 1);
      const { seq: second } = await store(2, 100, expectSequence(0)); // one byte is left
      const { error } = await store(3, 0, expectSequence(0));
      told.push(error?.description ?? "");
      await store(3, 0, expectSequence(7)); // the revision is looked at first
      await store(1, 100);
      await store(1, 101);
      await store(1, 150, expectSequence(second ?? 0));
      told.push((await probe.read("KV_jobs", key(1))).length.toString());
      await store(1, 90);
      await limitBucket(probe, bytes + 2 * size - 10);
      await store(2, 100, expectSequence(second ?? 0)); // full to the last byte: the same size passes
      await limitBucket(probe);
      await store(3, 0, expectSequence(0));
      return told;
    },
    expected: [
      "1 of 100: stored",
      "2 of 100: stored",
      "3 of 0: 503 10077",
      "maximum bytes exceeded",
      "3 of 0: 400 10071",
      "1 of 100: stored",
      "1 of 101: 503 10077",
      "1 of 150: 400 10071",
      "100",
      "1 of 90: stored",
      "2 of 100: stored",
      "3 of 0: stored",
    ],
  },
  {
    name: "a new key fits if it takes what is left to the last byte",
    tell: async (probe) => {
      const { bytes } = await bucket(probe);
      const first = await probe.store("$KV.jobs.contract-fit-1", "x", expectSequence(0));
      const size = (await bucket(probe)).bytes - bytes;
      const told = [outcome(first)];
      for (const left of [size - 1, size]) {
        await limitBucket(probe, bytes + size + left);
        told.push(outcome(await probe.store("$KV.jobs.contract-fit-2", "x", expectSequence(0))));
      }
      await limitBucket(probe);
      return told;
    },
    expected: ["stored", "503 10077", "stored"],
  },
  {
    name: "nothing can be deleted from the bucket; what expires makes room, and its key can be made again",
    tell: async (probe) => {
      const key = "$KV.jobs.contract-ttl";
      const before = await bucket(probe);
      const { seq } = await probe.store(key, "state", headersOf({ "Nats-TTL": "1s" }));
      const [refused] = await probe.ask("$JS.API.STREAM.MSG.DELETE.KV_jobs", JSON.stringify({ seq, no_erase: true }));
      await limitBucket(probe, (await bucket(probe)).bytes);
      const full = await probe.store("$KV.jobs.contract-ttl-2", "s", expectSequence(0));
      const early = await probe.read("KV_jobs", key);
      await sleep(1_600);
      const late = await probe.read("KV_jobs", key);
      const { bytes } = await bucket(probe);
      const again = await probe.store(key, "state", headersOf({ "Nats-TTL": "1s" }));
      await limitBucket(probe);
      return [
        outcome(refused?.json<Stored>() ?? {}),
        outcome(full),
        early,
        late,
        `${bytes - before.bytes}`,
        outcome(again),
      ];
    },
    expected: ["500 10057", "503 10077", "state", "404", "0", "stored"],
  },
  {
    name: "a value without a TTL in the place of one that has it stays",
    tell: async (probe) => {
      const key = "$KV.jobs.contract-ttl-3";
      await probe.store(key, "ended", headersOf({ "Nats-TTL": "1s" }));
      await probe.store(key, "retried");
      await sleep(1_600);
      return [await probe.read("KV_jobs", key)];
    },
    expected: ["retried"],
  },
];
