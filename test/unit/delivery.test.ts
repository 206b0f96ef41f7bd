import type { Msg, NatsConnection } from "nats";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { jobIdOfWake } from "../../src/actors/submission.ts";
import { Delivery } from "../../src/bus/tokens/delivery.ts";
import type { Mux } from "../../src/bus/wire/mux.ts";
import { isAsyncError } from "../../src/job/errors.ts";
import { NOW } from "./support.ts";

const NS = `${NOW}123456`;
const SHORT = `$JS.ACK.JOBS.supervisors.3.1201.1405.${NS}.17`;
const LONG = `$JS.ACK.hub.ACCHASH.JOBS.supervisors.3.1201.1405.${NS}.17`;

function deliver(reply: string | undefined, subject = "job.submit.mine") {
  const published: [string, string | undefined][] = [];
  const connection = {
    publish: (to: string, payload?: string) => {
      published.push([to, payload]);
    },
  } as unknown as NatsConnection;
  const message = { subject, data: Uint8Array.of(1), headers: undefined, reply } as unknown as Msg;
  return { delivery: new Delivery(message, connection), published };
}

for (const [form, reply] of [
  ["short", SHORT],
  ["long", LONG],
  ["long with a random token", `${LONG}.r4nd0m`],
] as const) {
  test(`an acknowledgement subject of the ${form} form tells stream, sequence, deliveries and time`, () => {
    const { delivery } = deliver(reply);
    assert.is(delivery.subject, "job.submit.mine");
    assert.equal(delivery.data, Uint8Array.of(1));
    assert.is(delivery.receipt.stream, "JOBS");
    assert.is(delivery.sequence, 1_201);
    assert.is(delivery.deliveries, 3);
    assert.is(delivery.storedAt, NOW);
  });

  test(`acknowledgements go to the subject of the ${form} form`, async () => {
    const { delivery, published } = deliver(reply);
    const asked: unknown[] = [];
    const request = async (subject: string, body: string) => void asked.push([subject, body]);
    await delivery.receipt.working({ request } as unknown as Mux, 1_000);
    assert.equal(asked, [[reply, "+WPI"]]);
    delivery.nak();
    delivery.ack();
    assert.equal(published, [
      [reply, "-NAK"],
      [reply, undefined],
    ]);
  });
}

for (const [tokens, reply] of [
  [9, SHORT],
  [11, LONG],
  [12, `${LONG}.r4nd0m`],
  [13, `${LONG}.r4nd0m.later`],
] as const) {
  test(`an acknowledgement subject of ${tokens} tokens is read, whatever its numbers`, () => {
    assert.is(reply.split(".").length, tokens);
    const other = reply
      .replace("JOBS", "KV_jobs-2")
      .replace(".3.1201.1405.", ".1.9007199254740991.1.")
      .replace(NS, "1700000000000000000");
    const { delivery } = deliver(other);
    assert.is(delivery.receipt.stream, "KV_jobs-2");
    assert.is(delivery.deliveries, 1);
    assert.is(delivery.sequence, Number.MAX_SAFE_INTEGER);
    assert.is(delivery.storedAt, 1_700_000_000_000);
  });
}

test("an account without a domain is told by an underscore", () => {
  const { delivery } = deliver(LONG.replace(".hub.", "._."));
  assert.is(delivery.receipt.stream, "JOBS");
  assert.is(delivery.sequence, 1_201);
});

test("the time is in whole milliseconds", () => {
  const { delivery } = deliver(SHORT.replace(NS, `${NOW}999999`));
  assert.ok(Number.isSafeInteger(delivery.storedAt));
  assert.ok(Math.abs(delivery.storedAt - NOW) <= 1, "nanoseconds are beyond what a number can hold exactly");
});

test("a message without an acknowledgement subject is refused", () => {
  for (const reply of [
    undefined,
    "",
    "$JS.ACK",
    "$JS.ACK.",
    "$JS.ACK.JOBS.x",
    "$JS.ACK.a.b.c.d.e.f.g",
    "_INBOX.abc",
    "_INBOX.a.b.c.d.e.f",
    "job.submit",
  ]) {
    assert.throws(
      () => deliver(reply),
      (error: unknown) => isAsyncError(error, "undecodable"),
      reply,
    );
  }
});

test("a wake names its job by the end of its subject", () => {
  assert.is(jobIdOfWake(deliver(SHORT, "job.wake.mine").delivery, "job.wake"), "mine");
  assert.is(jobIdOfWake(deliver(SHORT, "job.wake.seq-9").delivery, "job.wake"), "seq-9");
});

test("a wake without a possible job id is refused", () => {
  for (const subject of ["job.wake", "job.wake.", "job.wake.a.b", "job.timer.mine", "job.wake.a b"]) {
    assert.throws(
      () => jobIdOfWake(deliver(SHORT, subject).delivery, "job.wake"),
      (error: unknown) => isAsyncError(error, "invalid_job_id"),
      subject,
    );
  }
});

test.run();
