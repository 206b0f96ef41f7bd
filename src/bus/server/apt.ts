/**
 * nats-server from Debian's testing suite, for machines that reach no more than their own Debian mirror.
 *
 * Everything happens in one folder: the source, the package lists, the package. It needs no root and leaves the system,
 * its sources and its packages as they are. Only the machine's settings for the network (a proxy, say) are used.
 */
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type AptSource, isDebianArchive, parseDeb822, parseOneLine, withSuite } from "./apt-sources.ts";
import { requireProgram, run } from "./programs.ts";

/** Debian stable has a nats-server below our floor. */
const SUITE = "forky";
const APT_LIMIT_MS = 180_000;
const UNPACK_LIMIT_MS = 60_000;

export interface AptOptions {
  env: NodeJS.ProcessEnv;
  /** Where the machine's sources are: `/etc/apt`. */
  aptFolder: string;
}

/**
 * Downloads and unpacks the package into `folder`; returns the path of the server in it.
 *
 * @throws Error that says what does not work
 */
export async function fetchWithApt(folder: string, { env, aptFolder }: AptOptions): Promise<string> {
  const apt = await requireProgram("apt-get", env);
  const dpkg = await requireProgram("dpkg-deb", env);
  const archive = (await sourcesOf(aptFolder)).find(isDebianArchive);
  if (!archive) throw new Error(`${aptFolder} names no mirror of the Debian archive`);
  const config = await makeConfig(folder, withSuite(archive, SUITE));
  const options = { env: { ...env, LC_ALL: "C" }, cwd: folder, timeoutMs: APT_LIMIT_MS };
  await run(apt, ["-c", config, "update"], options);
  await run(apt, ["-c", config, "download", "nats-server"], options);
  const [deb] = (await readdir(folder)).filter((name) => name.endsWith(".deb"));
  if (deb === undefined) throw new Error("apt-get download left no package");
  await run(dpkg, ["-x", join(folder, deb), join(folder, "root")], { env, timeoutMs: UNPACK_LIMIT_MS });
  return join(folder, "root/usr/sbin/nats-server");
}

/**
 * A configuration that is read after the machine's own. What it clears are hooks that change other things after an
 * update, and a default release that our source does not have. The user `_apt`, which root's downloads run as, could not
 * write into our folder.
 */
async function makeConfig(folder: string, source: string): Promise<string> {
  const sources = join(folder, "sources");
  const lists = join(folder, "lists");
  const cache = join(folder, "cache");
  await mkdir(sources);
  await mkdir(join(lists, "partial"), { recursive: true });
  await mkdir(join(cache, "archives/partial"), { recursive: true });
  await writeFile(join(sources, "debian.sources"), source);
  const path = join(folder, "apt.conf");
  await writeFile(
    path,
    `#clear APT::Update;
#clear APT::Default-Release;
APT::Update::Error-Mode "any";
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "${sources}";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State::lists "${lists}";
Dir::Cache "${cache}";
APT::Sandbox::User "root";
Acquire::Retries "1";
Acquire::http::Timeout "10";
Acquire::https::Timeout "10";
`,
  );
  return path;
}

async function sourcesOf(aptFolder: string): Promise<AptSource[]> {
  const parts = join(aptFolder, "sources.list.d");
  const names = await ifThere(readdir(parts), []);
  const files = [join(aptFolder, "sources.list"), ...names.sort().map((name) => join(parts, name))];
  const sources = await Promise.all(
    files.map(async (file) => {
      if (file.endsWith(".sources")) return parseDeb822(await readFile(file, "utf8"));
      return file.endsWith(".list") ? parseOneLine(await ifThere(readFile(file, "utf8"), "")) : [];
    }),
  );
  return sources.flat();
}

async function ifThere<T>(reading: Promise<T>, otherwise: T): Promise<T> {
  try {
    return await reading;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return otherwise;
    throw error;
  }
}
