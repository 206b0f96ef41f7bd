/** A hub and a leaf node of it: two real servers on loopback, which share one account. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { connect } from "nats";
import { inTempFolder } from "./folder.ts";
import { freePort, serverBinary } from "./nats.ts";
import { eventually, within } from "./waiting.ts";

export interface HubAndLeaf {
  hub: string;
  leaf: string;
}

/** Their `jetstream {}` blocks without `store_dir`; undefined: none. */
export interface HubAndLeafOptions {
  hub: string;
  leaf?: string;
}

/** Runs `use` when the two are connected. */
export function withHubAndLeaf(options: HubAndLeafOptions, use: (urls: HubAndLeaf) => Promise<void>): Promise<void> {
  return inTempFolder(async (folder) => {
    const leafPort = await freePort();
    const jetStream = (name: string, rest: string | undefined) =>
      rest === undefined ? "" : `jetstream { store_dir: "${folder}/${name}", ${rest} }`;
    const servers: Server[] = [];
    try {
      const listen = `leafnodes { listen: "127.0.0.1:${leafPort}" }`;
      const hub = await start(folder, "hub", `${jetStream("hub", options.hub)}\n${listen}`);
      servers.push(hub);
      const remotes = `leafnodes { remotes: [{ url: "nats://127.0.0.1:${leafPort}" }] }`;
      const leaf = await start(folder, "leaf", `${jetStream("leaf", options.leaf)}\n${remotes}`);
      servers.push(leaf);
      await areConnected(hub.url, leaf.url);
      await use({ hub: hub.url, leaf: leaf.url });
    } finally {
      for (const server of servers) await stop(server.child);
    }
  });
}

interface Server {
  url: string;
  child: ChildProcess;
}

async function start(folder: string, name: string, config: string): Promise<Server> {
  const port = await freePort();
  const file = join(folder, `${name}.conf`);
  await writeFile(file, `server_name: ${name}\nlisten: "127.0.0.1:${port}"\n${config}`);
  const child = spawn(serverBinary.path, ["-c", file], { stdio: ["ignore", "ignore", "pipe"] });
  let log = "";
  const ready = new Promise<void>((resolve, reject) => {
    child.stderr.on("data", (text) => {
      log += text;
      if (log.includes("Server is ready")) resolve();
    });
    child.once("exit", () => reject(new Error(`server ${name} has ended:\n${log}`)));
  });
  await within(20_000, `server ${name}`, ready);
  return { url: `nats://127.0.0.1:${port}`, child };
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, "exit");
  child.kill("SIGKILL");
  await exited;
}

/** When what is subscribed to at the one is answered to the other. */
async function areConnected(hub: string, leaf: string): Promise<void> {
  const [there, here] = await Promise.all([connect({ servers: hub }), connect({ servers: leaf })]);
  there.subscribe("test.connected", { callback: (_, message) => void message.respond() });
  const ask = () => here.request("test.connected", "", { timeout: 1_000 }).catch(() => undefined);
  await eventually("hub and leaf are connected", ask, 20_000);
  await Promise.all([there.close(), here.close()]);
}
