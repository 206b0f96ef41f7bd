/**
 * No SDK of ours: a worker is a subscription in queue group `fn` that replies JSON, a job is a message on `job.submit`.
 * What this does with the `nats` package, any NATS client in any language can do.
 */
import { connect, headers } from "nats";
import { startPlayground } from "./playground.ts";

await using playground = await startPlayground();
const nc = await connect({ servers: playground.url });

// A worker.
nc.subscribe("fn.greet", {
  queue: "fn",
  callback: (_, message) => {
    const { args } = message.json<{ args: string }>();
    message.respond(JSON.stringify({ greeting: `hello ${args}` }));
  },
});
// One that fails: the standard error headers of a NATS service.
nc.subscribe("fn.fail", {
  queue: "fn",
  callback: (_, message) => {
    const error = headers();
    error.set("Nats-Service-Error-Code", "500");
    error.set("Nats-Service-Error", "out of paper");
    message.respond(JSON.stringify({ name: "PrinterError", message: "out of paper", retryable: false }), {
      headers: error,
    });
  },
});

// Two jobs: the publish acknowledgement says that the job is stored, and which id it has.
for (const functions of [[{ name: "greet", args: "world" }], [{ name: "fail" }]]) {
  const ack = await nc.request("job.submit", JSON.stringify({ name: "plain", functions }));
  const id = `seq-${ack.json<{ seq: number }>().seq}`;
  const job = await playground.client.wait(id);
  const shown = (await nc.request(`job.get.${id}`)).json<{ state: string }>();
  console.log(shown.state, job.result ?? job.error?.message);
}
await nc.close();

// Output:
// completed { greeting: 'hello world' }
// failed out of paper
