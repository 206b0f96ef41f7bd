/** The official release of nats-server from GitHub, or from a mirror of it. */
import { createHash } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { requireProgram, run } from "./programs.ts";

/** The version that this project is tested with. */
export const RELEASE_VERSION = "2.15.1";
const RELEASES = "https://github.com/nats-io/nats-server/releases/download";

/** For the first byte of an answer. Short, so that a machine without a network gets to the next step soon. */
const ANSWER_LIMIT_MS = 3_000;
/** For the whole of a file. */
const TRANSFER_LIMIT_MS = 180_000;
/** A release is about 7 MB. */
const MAX_ARCHIVE_BYTES = 64 * 1024 * 1024;
const MAX_SUMS_BYTES = 64 * 1024;
const UNPACK_LIMIT_MS = 60_000;

/**
 * Downloads the release for this machine into `folder`; returns the path of the server in it.
 *
 * The sum comes from where the archive comes from: it tells a broken transfer, while HTTPS tells who sent it.
 *
 * @throws Error that says what does not work
 */
export async function fetchRelease(folder: string, env: NodeJS.ProcessEnv): Promise<string> {
  const tar = await requireProgram("tar", env);
  const name = `nats-server-v${RELEASE_VERSION}-${platform()}`;
  const base = `${(env.ASYNC_NATS_DOWNLOAD_URL || RELEASES).replace(/\/+$/, "")}/v${RELEASE_VERSION}`;
  const sums = (await download(`${base}/SHA256SUMS`, MAX_SUMS_BYTES)).toString("utf8");
  const expected = sumOf(sums, `${name}.tar.gz`);
  const archive = await download(`${base}/${name}.tar.gz`, MAX_ARCHIVE_BYTES);
  const actual = createHash("sha256").update(archive).digest("hex");
  if (actual !== expected) throw new Error(`${base}/${name}.tar.gz has the SHA-256 sum ${actual}, not ${expected}`);
  const path = join(folder, "release.tar.gz");
  await writeFile(path, archive);
  await run(tar, ["-xzf", path, "-C", folder, `${name}/nats-server`], { env, timeoutMs: UNPACK_LIMIT_MS });
  return join(folder, name, "nats-server");
}

function platform(): string {
  const arch = { x64: "amd64", arm64: "arm64" }[process.arch as string];
  if (!["linux", "darwin"].includes(process.platform) || !arch) {
    throw new Error(`no release is known for ${process.platform} on ${process.arch}`);
  }
  return `${process.platform}-${arch}`;
}

/** Lines are `<sum>  <file>`. */
function sumOf(sums: string, file: string): string {
  const line = sums.split("\n").find((one) => one.trim().split(/\s+\*?/)[1] === file);
  const sum = line?.trim().split(/\s+/)[0]?.toLowerCase();
  if (!sum) throw new Error(`SHA256SUMS of the release does not name ${file}`);
  return sum;
}

async function download(url: string, maxBytes: number): Promise<Buffer> {
  const abort = new AbortController();
  const limit = (ms: number, what: string) =>
    setTimeout(() => abort.abort(new Error(`${url}: ${what} within ${ms} ms`)), ms);
  let timer = limit(ANSWER_LIMIT_MS, "no answer");
  try {
    const response = await fetch(url, { signal: abort.signal });
    clearTimeout(timer);
    timer = limit(TRANSFER_LIMIT_MS, "not complete");
    if (!response.ok || !response.body) throw new Error(`${url}: HTTP status ${response.status}`);
    const chunks: Uint8Array[] = [];
    let bytes = 0;
    for await (const chunk of response.body) {
      bytes += chunk.byteLength;
      if (bytes > maxBytes) throw new Error(`${url}: larger than ${maxBytes} bytes`);
      chunks.push(chunk);
    }
    return Buffer.concat(chunks);
  } finally {
    clearTimeout(timer);
  }
}
