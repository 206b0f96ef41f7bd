/** Messages that make no sense, from who may publish: headers, values, replies, schedules. */
import { Packr } from "msgpackr";
import { headers } from "nats";
import * as assert from "uvu/assert";
import { isAsyncError } from "../../../src/job/errors.ts";
import type { Attack } from "../attack.ts";
import { ODDITIES } from "../odd-worker.ts";
import { RawConnection } from "../raw-connection.ts";
import type { Target } from "../target.ts";

const job = (name: string, more: object = {}) => ({ name, functions: [{ name, ...more }] });

/** How the jobs have ended, by id. */
async function endsOf({ client }: Target, ids: string[], timeoutMs = 30_000): Promise<string[]> {
  return Promise.all(ids.map(async (jobId) => (await client.wait(jobId, { timeoutMs })).state));
}

const unreadableHeaders: Attack = {
  name: "headers that nobody can read, on every subject",
  async run(target) {
    const raw = new RawConnection(target.url);
    const heads = [
      "NATS/1.0\r\nbad key: x\r\n\r\n",
      "NATS/1.0 409 x\r\n\r\n",
      "NATS/1.0",
      `NATS/1.0\r\n${"y:\r\n".repeat(15_000)}\r\n`,
    ];
    const subjects = [
      "job.wake.x",
      "job.get.x",
      "job.cancel.x",
      "job.retry.x",
      "job.explain.x",
      "job.signal.x.y",
      "job.list",
      "job.ctl.room",
      "job.ctl.stop",
    ];
    subjects.push(
      "job.ctl.queued",
      "job.ctl.settings",
      "definition.put",
      "function.set",
      "job.ctl.lines",
      "job.ctl.storage",
      "job.ctl.changed.x",
      "fn.honest",
      "$SRV.INFO",
      "$SRV.STATS",
    );
    const ids: string[] = [];
    for (const [index, head] of heads.entries()) {
      for (let i = 0; i < 5; i++) {
        ids.push(`heads-${index}-${i}`);
        raw.publish(`job.submit.heads-${index}-${i}`, JSON.stringify(job("honest")), head);
        for (const subject of subjects) raw.publish(subject, "{}", head, "some.reply");
      }
    }
    await raw.drained();
    // They have been stored when what was sent last has been: the server refuses none of these.
    const known = await Promise.all(ids.map((id) => appears(target, id)));
    assert.ok(known.every(Boolean), `${known.filter((one) => !one).length} have not become jobs`);
    assert.ok((await endsOf(target, ids)).every((state) => state === "completed"));
    assert.is(raw.closes, 0);
    raw.close();
  },
};

async function appears({ client }: Target, jobId: string): Promise<boolean> {
  for (let tries = 0; tries < 400; tries++) {
    const found = await client.get(jobId).catch((error) => {
      // Busy with what was sent, it may not answer in time.
      if (!isAsyncError(error, "job_not_found") && !isAsyncError(error, "bus_timeout")) throw error;
    });
    if (found) return true;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return false;
}

const oddMessagePack: Attack = {
  name: "MessagePack with cycles and extensions",
  async run(target) {
    const packr = new Packr({ structuredClone: true, useRecords: false, moreTypes: true });
    const cyclic: unknown[] = [];
    cyclic.push(cyclic);
    const ids: string[] = [];
    for (const [index, args] of [cyclic, new Set([1]), new Error("x"), 2n ** 80n, /x/].entries()) {
      for (let i = 0; i < 20; i++) {
        ids.push(`pack-${index}-${i}`);
        target.bus.nc.publish(`job.submit.pack-${index}-${i}`, packr.pack(job("honest", { args })));
      }
    }
    await target.bus.flush();
    for (const id of ids) assert.ok(await appears(target, id));
    assert.ok((await endsOf(target, ids)).every((state) => state === "failed"));
    await target.client.list({ limit: 1_000 });
  },
};

const nonsenseReplies: Attack = {
  name: "services that reply nonsense, many times, and to others' subjects",
  async run(target, scale) {
    const raw = new RawConnection(target.url);
    const replies = ["", "7", "\u00ff", "{", "x".repeat(100_000), Buffer.alloc(5_000, 0x91), Buffer.from([0xc1])];
    let number = 0;
    const seen: string[] = [];
    const service = target.bus.nc.subscribe("fn.nonsense", {
      queue: "fn",
      callback: (_, { reply = "" }) => {
        seen.push(reply);
        for (let i = 0; i < 20; i++) raw.publish(reply, replies[number++ % replies.length] as string);
        for (const other of seen.slice(-5)) raw.publish(`${other}x`, "7");
      },
    });
    const jobs = Array.from({ length: scale === "short" ? 50 : 2_000 }, () => job("nonsense"));
    const submitted = await target.client.submitMany(jobs);
    await endsOf(
      target,
      submitted.map(({ job_id }) => job_id),
    );
    service.unsubscribe();
    raw.close();
  },
};

const farSchedules: Attack = {
  name: "schedules in the year 10000, over HTTP and on the bus",
  async run(target, scale) {
    const count = scale === "short" ? 100 : 2_000;
    const scheduled_at = "9999-12-31T23:59:59-23:59";
    const body = JSON.stringify({ ...job("honest"), scheduled_at });
    for (let i = 0; i < count; i += 10) {
      const posts = Array.from({ length: 10 }, () =>
        fetch(`${target.http}/v1/job`, { method: "POST", headers: { "content-type": "application/json" }, body }),
      );
      for (const response of await Promise.all(posts)) {
        assert.is(response.status, 400);
        await response.arrayBuffer();
      }
    }
    const acks = await Promise.all(
      Array.from({ length: count }, (_, i) => target.bus.mux.publish(`job.submit.far-${i}`, body)),
    );
    assert.is(acks.length, count);
    const ids = Array.from({ length: count }, (_, i) => `far-${i}`);
    assert.ok((await endsOf(target, ids)).every((state) => state === "failed"));
  },
};

const oddHandlers: Attack = {
  name: "handlers that throw and return oddities, in a supervisor whose listeners throw",
  async run(target, scale) {
    const names = ["throws", "rejects", "returns", "resolves", "progress"];
    const jobs = Object.keys(ODDITIES).flatMap((args) => names.map((name) => job(`here.${name}`, { args })));
    for (let round = 0; round < (scale === "short" ? 1 : 20); round++) {
      for (const encoding of ["json", "msgpack"] as const) {
        const submitted = await target.client.submitMany(jobs, { encoding });
        const ends = await endsOf(
          target,
          submitted.map(({ job_id }) => job_id),
        );
        const threw = ends.filter((_, index) => /throws|rejects/.test(jobs[index]?.name ?? ""));
        assert.ok(threw.every((state) => state === "failed"));
      }
    }
  },
};

const progressFlood: Attack = {
  name: "services that flood with progress",
  async run(target, scale) {
    const raw = new RawConnection(target.url);
    const body = JSON.stringify("p".repeat(2_000));
    const service = target.bus.nc.subscribe("fn.chatty", {
      queue: "fn",
      callback: (_, { reply = "" }) => {
        void (async () => {
          for (let i = 0; i < (scale === "short" ? 500 : 5_000); i++) {
            raw.publish(reply, body, "NATS/1.0\r\nAsync-Status: heartbeat\r\n\r\n");
            if (i % 50 === 0) await raw.drained();
          }
          raw.publish(reply, "1");
        })();
      },
    });
    const submitted = await target.client.submitMany(Array.from({ length: 10 }, () => job("chatty")));
    assert.ok(
      (
        await endsOf(
          target,
          submitted.map(({ job_id }) => job_id),
        )
      ).every((state) => state === "completed"),
    );
    service.unsubscribe();
    raw.close();
  },
};

const nudges: Attack = {
  name: "a flood of room, stop, changed, queued, storage and lines that are all lies",
  async run(target, scale) {
    const raw = new RawConnection(target.url);
    for (let i = 0; i < (scale === "short" ? 2_000 : 60_000); i++) {
      raw.publish(
        "job.ctl.room",
        JSON.stringify({ functions: [`none-${i}`, "honest"], slots: 1_000, heartbeat_ms: 20 }),
      );
      raw.publish("job.ctl.queued", JSON.stringify({ function: `none-${i}` }));
      raw.publish("job.ctl.storage", '{"full":true}');
      raw.publish(`job.ctl.changed.none-${i}`, "");
      raw.publish("job.ctl.stop", JSON.stringify({ reply: `_INBOX_async.${i}`, index: 0, attempt: 1 }));
      if (i % 100 === 0) raw.publish("job.ctl.lines", "", "", "some.reply");
      if (i % 50 === 0) await raw.drained();
    }
    await raw.drained();
    await target.bus.flush();
    raw.close();
  },
};

const replySubjects: Attack = {
  name: "submissions whose acknowledgement is to be written elsewhere",
  async run(target) {
    const { job_id } = await target.client.submit({ ...job("nobody"), timeout_ms: 20_000 }, { jobId: "victim" });
    for (const reply of [
      "$KV.jobs.victim",
      "$KV.jobs.other",
      "job.event.victim.completed",
      "job.wake.victim",
      "job.submit.made",
      "job.cancel.nobody",
    ]) {
      target.bus.nc.publish("job.submit", JSON.stringify(job("honest")), { reply });
    }
    await target.bus.flush();
    // Its state was written over by what is none: then it has failed, or it is as it was.
    const found = await target.client.get(job_id).catch((error) => error);
    assert.ok(isAsyncError(found, "corrupt_state") || found.job_id === job_id);
    await target.client.list({ limit: 1_000 });
  },
};

const permissions: Attack = {
  name: "users who may do little, and submit, listen and serve all the same",
  natsMaySay: /Violation|authorization violation|authentication error/i,
  async run(target) {
    const url = target.url.replace("nats://", "nats://limited:x@");
    const deaf = target.url.replace("nats://", "nats://deaf:x@");
    const { Client } = await import("../../../src/client/client.ts");
    const { Worker } = await import("../../../src/worker/worker.ts");
    const { silent } = await import("../../support/system.ts");
    for (let i = 0; i < 10; i++) {
      const client = await Client.connect({ url });
      await refused(client.submit(job("honest"), { jobId: `denied-${i}` }));
      await refused(client.get("x"));
      await client.close();
      const other = await Client.connect({ url: deaf });
      await refused(other.get("x"));
      await other.close();
      await refused(new Worker({ url: deaf, log: silent }).func("honest", () => 1).start());
    }
    // What is permitted is done.
    const client = await Client.connect({ url });
    await client.bus.mux.publish("job.submit", JSON.stringify(job("honest")));
    await client.close();
  },
};

async function refused(promise: Promise<unknown>): Promise<void> {
  const thrown = await promise.then(
    () => undefined,
    (error) => error,
  );
  assert.ok(isAsyncError(thrown, "permission_denied"), String(thrown));
}

const oddServices: Attack = {
  name: "services that answer $SRV with nonsense while workers are listed",
  async run(target, scale) {
    const answers = [
      "",
      "{",
      '{"endpoints":[null,7]}',
      JSON.stringify({ id: "x".repeat(200_000), endpoints: [{ subject: "fn.x" }] }),
    ];
    const liars = ["PING", "INFO", "STATS"].map((verb) =>
      target.bus.nc.subscribe(`$SRV.${verb}`, {
        callback: (_, message) => {
          const head = headers();
          head.set("Status", "x");
          for (const answer of answers) message.respond(answer, { headers: head });
        },
      }),
    );
    for (let i = 0; i < (scale === "short" ? 5 : 50); i++) {
      assert.is((await fetch(`${target.http}/v1/worker`)).status, 200);
      assert.is((await fetch(`${target.http}/v1/function`)).status, 200);
    }
    for (const liar of liars) liar.unsubscribe();
  },
};

export const strangers: Attack[] = [
  unreadableHeaders,
  oddMessagePack,
  nonsenseReplies,
  farSchedules,
  oddHandlers,
  progressFlood,
  nudges,
  replySubjects,
  permissions,
  oddServices,
];
