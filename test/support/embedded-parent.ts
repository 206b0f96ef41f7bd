/** A process that starts an embedded server, tells about it, and then waits to be killed, or crashes when stdin ends. */
import { type EmbeddedServerOptions, startEmbeddedServer } from "../../src/bus/server/embedded-server.ts";

const options = JSON.parse(process.argv[2] ?? "{}") as EmbeddedServerOptions;
const { pid, url, storeDir } = await startEmbeddedServer(options);
process.stdout.write(`${JSON.stringify({ pid, url, storeDir })}\n`);
process.stdin.resume().once("end", () => {
  throw new Error("a crash on purpose");
});
