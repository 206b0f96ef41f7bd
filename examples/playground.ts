/** What the examples run on: the NATS server at NATS_URL or one of their own, a supervisor, and a client. */
import { Bus, Client, Supervisor, type SupervisorOptions, startEmbeddedServer } from "async";
import { pino } from "pino";

/** Examples print their own lines only. */
export const quiet = pino({ level: "silent" });

export async function startPlayground(options: SupervisorOptions = {}) {
  const server = process.env.NATS_URL ? undefined : await startEmbeddedServer();
  const url = server?.url ?? (process.env.NATS_URL as string);
  const bus = await Bus.open({ url, name: "example" });
  const supervisor = await Supervisor.start(bus, options);
  return {
    url,
    bus,
    client: new Client(bus),
    supervisor,
    async [Symbol.asyncDispose]() {
      await supervisor.close();
      await bus.close();
      await server?.close();
    },
  };
}
