/**
 * PostgreSQL with its default durability: a commit is on disk before it is acknowledged (synchronous_commit=on). That is
 * more than what we, or Redis, promise by default. Reached by a Unix socket, which needs no port.
 */
import { existsSync, readFileSync } from "node:fs";
import { chown, readdir } from "node:fs/promises";
import { join } from "node:path";
import { findOnPath } from "../../../src/bus/server/programs.ts";
import type { ProcessHandle } from "../../process.ts";
import { type PeerServer, startPeerServer } from "../server.ts";

/** Where Debian keeps the programs of each version. */
const DEBIAN = "/usr/lib/postgresql";
/** The user and group nobody: PostgreSQL refuses to be run by root. */
const NOBODY = 65_534;
const USER = "bench";
/** Arguments: the folder, initdb, postgres with its own arguments. One command, so that the guard has both. */
const SCRIPT = `folder=$1 initdb=$2
shift 2
"$initdb" --pgdata "$folder" --username ${USER} --auth trust --encoding UTF8 --no-locale --no-sync && exec "$@"`;

const SETTINGS = {
  listen_addresses: "",
  max_connections: 400,
  // The defaults are for the smallest of machines.
  shared_buffers: "512MB",
  max_wal_size: "4GB",
  // Each job leaves two dead rows: cleaned once a minute only, as is the default, they make every round slower.
  autovacuum_naptime: "5s",
};

export interface Postgres extends PeerServer {
  /** Connection string. */
  readonly url: string;
  /** All that there are at the moment: one for each connection, and some of its own. */
  processes(): ProcessHandle[];
}

/** @throws Error that says what to install, or why it does not start */
export async function startPostgres(): Promise<Postgres> {
  const [initdb, postgres] = await Promise.all([findProgram("initdb"), findProgram("postgres")]);
  const settings = Object.entries(SETTINGS).flatMap(([name, value]) => ["-c", `${name}=${value}`]);
  let socketFolder = "";
  const server = await startPeerServer({
    name: "postgres",
    command: async (folder) => {
      socketFolder = folder;
      const data = join(folder, "data");
      const args = [initdb, postgres, "-D", data, "-c", `unix_socket_directories=${folder}`, ...settings];
      return [...(await asOrdinaryUser(folder)), "/bin/sh", "-c", SCRIPT, "postgres", data, ...args];
    },
    ready: "database system is ready to accept connections",
  });
  return {
    ...server,
    url: `postgres://${USER}@/postgres?host=${encodeURIComponent(socketFolder)}`,
    processes: () => [server.pid, ...childrenOf(server.pid)].map((pid) => ({ role: "server", pid })),
  };
}

/** None where there is no /proc (macOS): nothing is metered there. */
function childrenOf(pid: number): number[] {
  const file = `/proc/${pid}/task/${pid}/children`;
  if (!existsSync(file)) return [];
  return readFileSync(file, "utf8").trim().split(" ").map(Number);
}

async function findProgram(name: string): Promise<string> {
  const versions = await readdir(DEBIAN).catch(() => []); // not Debian, or not installed
  const newestFirst = versions.sort((a, b) => Number(b) - Number(a));
  const folders = newestFirst.map((version) => join(DEBIAN, version, "bin"));
  const [path] = await findOnPath(name, process.env, folders);
  if (path === undefined) throw new Error(`there is no ${name} of PostgreSQL: apt-get install postgresql`);
  return path;
}

/** What to put before a command so that it is not root who runs it; the folder is given to whoever does. */
async function asOrdinaryUser(folder: string): Promise<string[]> {
  if (process.getuid?.() !== 0) return [];
  await chown(folder, NOBODY, NOBODY);
  return ["setpriv", `--reuid=${NOBODY}`, `--regid=${NOBODY}`, "--clear-groups"];
}
