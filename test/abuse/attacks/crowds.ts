/** What one user sends in great number, or in large: others wait for seconds at most, and memory is bounded. */

import { connect } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import * as assert from "uvu/assert";
import { isAsyncError } from "../../../src/job/errors.ts";
import { eventually } from "../../support/waiting.ts";
import type { Attack } from "../attack.ts";
import type { Target } from "../target.ts";

const job = (name: string, more: object = {}) => ({ name, functions: [{ name }], ...more });

/** Serves a function in this process; each execution takes so long. Returns how many there have been, and how to stop. */
function serve({ bus }: Target, name: string, ms: number): { count: () => number; stop: () => void } {
  let count = 0;
  const served = bus.nc.subscribe(`fn.${name}`, {
    queue: "fn",
    callback: (_, message) => {
      count += 1;
      setTimeout(() => message.respond("null"), ms);
    },
  });
  return { count: () => count, stop: () => served.unsubscribe() };
}

const unservedNames: Attack = {
  name: "jobs for thousands of functions that nobody serves",
  target: { supervisors: 1 },
  async run(target, scale) {
    const count = scale === "short" ? 5_000 : 20_000;
    const jobs = Array.from({ length: count }, (_, i) => job(`misspelt-${i}`));
    const outcomes = await target.client.submitMany(jobs);
    assert.equal(
      outcomes.filter(({ error }) => error),
      [],
    );
    await delay(scale === "short" ? 3_000 : 60_000);
    // One that is corrected is done.
    const late = serve(target, "misspelt-7", 0);
    const { job_id } = outcomes[7] as { job_id: string };
    if (scale === "long") await target.client.wait(job_id, { timeoutMs: 120_000 });
    late.stop();
  },
};

const largeWaiting: Attack = {
  name: "jobs of 900 kB that wait at the start of a supervisor",
  target: { supervisors: 1, flags: ["--state-max-bytes", "3G", "--jobs-max-bytes", "2G"] },
  startsSupervisors: true,
  // It starts with all of them before it: what is quiet is not known, and 5 s are seconds.
  mostSlowdown: 200,
  async run(target, scale) {
    const count = scale === "short" ? 40 : 900;
    await target.addSupervisor(); // makes the streams
    for (const one of target.supervisors.splice(0)) await one.kill();
    const served = serve(target, "large", 5);
    const body = JSON.stringify(job("large", { data: "x".repeat(900_000) }));
    for (let i = 0; i < count; i++) await target.bus.mux.publish(`job.submit.large-${i}`, body);
    await target.startSupervisors();
    target.begin();
    await eventually("all are served", () => served.count() >= count, scale === "short" ? 60_000 : 240_000);
    served.stop();
  },
};

const manyObjects: Attack = {
  name: "jobs of 990 kB that decode to 330,000 objects each, with 512 MB",
  target: { supervisors: 1, maxMemory: 512, flags: ["--state-max-bytes", "3G"] },
  async run(target, scale) {
    const count = scale === "short" ? 10 : 420;
    const served = serve(target, "objects", 50);
    const data = `[${Array.from({ length: 330_000 }, () => "{}").join()}]`;
    const body = `{"name":"objects","functions":[{"name":"objects"}],"data":${data}}`;
    for (let i = 0; i < count; i++) await target.bus.mux.publish(`job.submit.objects-${i}`, body);
    await eventually("all are served", () => served.count() >= count, scale === "short" ? 90_000 : 1_500_000);
    served.stop();
  },
};

const lists: Attack = {
  name: "ten clients that list large jobs, and filter through many, again and again",
  async run(target, scale) {
    const count = scale === "short" ? 12 : 150;
    const data = "x".repeat(900_000);
    for (let i = 0; i < count; i++) await target.client.submit(job("honest", { data }), { jobId: `listed-${i}` });
    const many = await target.client.submitMany(
      Array.from({ length: scale === "short" ? 1_000 : 50_000 }, () => job("honest")),
    );
    assert.ok(many.every(({ error }) => !error));
    const end = performance.now() + (scale === "short" ? 3_000 : 60_000);
    const queries = ["?limit=150", "?state=running", "?state=failed&limit=1000", "?order=newest&limit=1000"];
    let pages = 0;
    const one = async (index: number) => {
      while (performance.now() < end) {
        const response = await fetch(`${target.http}/v1/job${queries[index % queries.length]}`);
        const text = await response.text();
        assert.ok(response.status === 200 || response.status === 503, text.slice(0, 200));
        pages += 1;
      }
    };
    await Promise.all(Array.from({ length: 10 }, (_, index) => one(index)));
    assert.ok(pages > 0);
  },
};

const slowConnections: Attack = {
  name: "hundreds of connections that say little or nothing, to the bridge and to NATS",
  natsMaySay: /timeout|parser error/i,
  async run(target, scale) {
    const count = scale === "short" ? 700 : 2_000;
    const bridge = Number(new URL(target.http).port);
    const nats = Number(new URL(target.url.replace("nats:", "http:")).port);
    const sockets = Array.from({ length: count }, (_, i) => {
      const socket = connect(i % 10 === 9 ? nats : bridge, "127.0.0.1");
      socket.on("error", () => {}); // to be closed is what is right
      if (i % 3 === 0) socket.write("GET /healthz HT");
      if (i % 3 === 1)
        socket.write(
          "POST /v1/job HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 900000\r\n\r\n{",
        );
      return socket;
    });
    try {
      for (
        const end = performance.now() + (scale === "short" ? 2_000 : 30_000);
        performance.now() < end;
        await delay(200)
      ) {
        for (const socket of sockets.slice(0, 50)) if (!socket.destroyed) socket.write("x");
      }
    } finally {
      for (const socket of sockets) socket.destroy();
    }
  },
};

const smallPayload: Attack = {
  name: "jobs, results, errors and progress around a max_payload of 8 kB",
  target: { supervisors: 1, natsConfig: "max_payload: 8192" },
  async run(target) {
    let size = 0;
    const service = target.bus.nc.subscribe("fn.sized", {
      queue: "fn",
      callback: (_, message) => {
        size = (size + 977) % 8_000;
        message.respond(JSON.stringify("r".repeat(size)));
      },
    });
    const ids: string[] = [];
    for (let bytes = 0; bytes < 9_000; bytes += 300) {
      const functions = Array.from({ length: 3 }, () => ({ name: "sized", args: "a".repeat(bytes / 3) }));
      const submitted = await target.client.submit({ name: "sized", functions, data: "d" }).catch((error) => error);
      if (!isAsyncError(submitted)) ids.push(submitted.job_id);
      else assert.is(submitted.code, "payload_too_large");
    }
    assert.ok(ids.length > 10);
    for (const jobId of ids) await target.client.wait(jobId, { timeoutMs: 20_000 }).catch(mayBeTooLarge);
    service.unsubscribe();
  },
};

/** It has ended, and is too large to be shown. */
function mayBeTooLarge(error: unknown): void {
  if (!isAsyncError(error, "payload_too_large")) throw error;
}

const hundredThousand: Attack = {
  name: "a hundred thousand jobs that wait for a worker",
  target: { supervisors: 1 },
  mostMiB: 250,
  async run(target, scale) {
    const count = scale === "short" ? 5_000 : 100_000;
    for (let sent = 0; sent < count; sent += 5_000) {
      const outcomes = await target.client.submitMany(Array.from({ length: 5_000 }, () => job("later")));
      assert.equal(
        outcomes.filter(({ error }) => error),
        [],
      );
    }
    if (scale === "short") return;
    await eventually(
      "nearly all wait on disk",
      async () => {
        const reply = await target.bus.mux.request("$JS.API.STREAM.INFO.TIMERS", "", 5_000);
        return reply.json<{ state: { messages: number } }>().state.messages > count - 3_000;
      },
      240_000,
    );
    const [peak] = target.peaksMiB();
    assert.ok(peak === undefined || peak <= 250, `${peak} MiB`);
  },
};

export const crowds: Attack[] = [
  unservedNames,
  largeWaiting,
  manyObjects,
  lists,
  slowConnections,
  smallPayload,
  hundredThousand,
];
