/** Permissions that are taken away from who is connected, and given back: nobody has to be restarted (STEADY-1). */
import { pino } from "pino";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Supervisor } from "../../src/actors/supervisor.ts";
import { Client } from "../../src/client/client.ts";
import { isAsyncError } from "../../src/job/errors.ts";
import { Worker } from "../../src/worker/worker.ts";
import { startTestServer, testBus } from "../support/nats.ts";
import { LIMITED_USER, LimitedUser, WITH_LIMITED_USER } from "../support/permissions.ts";
import { eventually } from "../support/waiting.ts";

const test = suite("permissions");

/** The whole of a system as the user whose permissions change, and a client as one who may do everything. */
async function start() {
  const server = await startTestServer({ extraConfig: WITH_LIMITED_USER });
  const limited = await testBus(server.url, "limited", LIMITED_USER);
  const all = await testBus(server.url, "all");
  const supervisor = await Supervisor.start(limited);
  const denied: string[] = [];
  limited.onDenied(({ operation, subject }) => denied.push(`${operation} ${subject}`));
  const log = pino({ level: "silent" });
  const worker = await new Worker({ log, bus: { url: server.url, client: LIMITED_USER } })
    .func("echo", ({ args }) => args)
    .start();
  return {
    user: new LimitedUser(server),
    client: new Client(all),
    limitedClient: new Client(limited),
    denied,
    close: async () => {
      await worker.close();
      await supervisor.close();
      await limited.close();
      await all.close();
      await server.close();
    },
  };
}

const job = { name: "permitted", functions: [{ name: "echo", args: 7 }] };

test("what a worker serves and what a supervisor answers is served again when it is permitted again", async () => {
  const { user, client, close } = await start();
  try {
    assert.is(await client.run(job, { timeoutMs: 10_000 }), 7);
    for (const subject of ["fn.echo", "job.get.>", "job.ctl.>"]) await user.deny("subscription", subject);
    const { job_id } = await client.submit(job);
    const code = await client.get(job_id).then(
      () => "answered",
      (error) => (isAsyncError(error) ? error.code : String(error)),
    );
    assert.is(code, "no_responders");
    await user.permit();
    assert.is((await client.wait(job_id, { timeoutMs: 60_000 })).result, 7);
  } finally {
    await close();
  }
});

test("replies are heard again, and a refusal that lasts is told once", async () => {
  const { user, client, limitedClient, denied, close } = await start();
  try {
    await user.deny("subscription", "_INBOX_async.>");
    const refused = await limitedClient.get("x").catch((error) => error);
    assert.ok(isAsyncError(refused, "permission_denied"), String(refused));
    const { job_id } = await client.submit(job);
    await new Promise((resolve) => setTimeout(resolve, 4_000)); // it is tried again twice
    const inboxes = denied.filter((one) => one.startsWith("subscription _INBOX_async."));
    assert.is(new Set(inboxes).size, inboxes.length);
    await user.permit();
    assert.is((await client.wait(job_id, { timeoutMs: 60_000 })).result, 7);
    await eventually("the client of the same connection", async () =>
      limitedClient.get(job_id).then(
        ({ state }) => state === "completed",
        () => false,
      ),
    );
  } finally {
    await close();
  }
});

test.run();
