/** The least that a worker must do. */
import { connect } from "nats";
import { monotonicUs } from "../clock.ts";
import { untilTold } from "../until-told.ts";
import { FLOOR_CLOCK, FLOOR_FUNCTION } from "./streams.ts";

const nc = await connect({ servers: process.env.NATS_URL ?? "", noAsyncTraces: true });
nc.subscribe(FLOOR_FUNCTION, {
  queue: "fn",
  callback: (_, message) => {
    const { args } = message.json<{ args: [number, number] }>();
    message.respond(JSON.stringify(args[0] + args[1]));
  },
});
nc.subscribe(FLOOR_CLOCK, {
  queue: "fn",
  callback: (_, message) => void message.respond(JSON.stringify(monotonicUs())),
});
await nc.flush();
process.stdout.write("the floor's worker is serving\n");
untilTold(() => nc.close());
