/** The least that a bridge must do: a Fastify route that publishes the body and awaits the acknowledgement. */
import Fastify from "fastify";
import { connect } from "nats";
import { Inbox, sequenceIn } from "../floor/inbox.ts";
import { untilTold } from "../until-told.ts";
import { HTTP_SUBJECT } from "./bare-stream.ts";

const nc = await connect({ servers: process.env.NATS_URL ?? "", noAsyncTraces: true });
const inbox = new Inbox(nc, "_INBOX_bare.bridge");
const app = Fastify();
app.removeAllContentTypeParsers();
app.addContentTypeParser("application/json", { parseAs: "buffer" }, (_request, body, done) => done(null, body));
app.post<{ Body: Buffer }>("/v1/job", ({ body }) => {
  return new Promise((resolve, reject) => {
    inbox.request(HTTP_SUBJECT, body, undefined, (ack) => {
      try {
        resolve({ seq: sequenceIn(ack) });
      } catch (error) {
        reject(error);
      }
    });
  });
});
process.stdout.write(`the bare route is listening at ${await app.listen({ host: "127.0.0.1", port: 0 })}\n`);

untilTold(async () => {
  await app.close();
  await nc.close();
});
