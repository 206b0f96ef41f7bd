/** A supervisor whose listeners throw at everything, and that executes functions that throw and return oddities. Takes the address of NATS. */
import { pino } from "pino";
import { logLifecycle } from "../../src/actors/log.ts";
import { Supervisor } from "../../src/actors/supervisor.ts";
import { Bus } from "../../src/bus/connection.ts";
import { oddWorker } from "./odd-worker.ts";

const log = pino();
const bus = await Bus.open({ url: process.argv[2] ?? "", name: "hostile-supervisor" });
const supervisor = await Supervisor.start(bus);
logLifecycle(supervisor.lifecycle, log);
const boom = () => {
  throw new Error("a listener that throws");
};
for (const event of ["job", "claimed", "released", "repeated"] as const) {
  supervisor.lifecycle.on(event, boom);
  supervisor.lifecycle.on(event, async () => boom());
}
await oddWorker("here", { bus, log: pino({ level: "silent" }) }).start();
log.info("supervisor is running");
