/**
 * The check of import directions and circles is a part of `npm run lint` (rules `noRestrictedImports` and `noImportCycles` of
 * biome.json). Here it is seen to fail where something is planted, in a copy of the tree's shape.
 */
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";

const BIOME = new URL("../../node_modules/@biomejs/biome/bin/biome", import.meta.url).pathname;

/** A file in each folder, and what it may import. */
const TREE: Record<string, string[]> = {
  "src/util/a.ts": [],
  "src/job/a.ts": ["../util/a.ts"],
  "src/api/a.ts": ["../job/a.ts", "../util/a.ts"],
  "src/bus/wire/a.ts": ["../../job/a.ts", "../../util/a.ts"],
  "src/bus/a.ts": ["./wire/a.ts", "../api/a.ts", "../job/a.ts"],
  "src/bus/messages/a.ts": ["../a.ts", "../wire/a.ts", "../../api/a.ts"],
  "src/bus/store/a.ts": ["../messages/a.ts", "../a.ts"],
  "src/bus/tokens/a.ts": ["../store/a.ts", "../messages/a.ts"],
  "src/bus/server/a.ts": ["../../job/a.ts"],
  "src/actors/a.ts": ["../bus/tokens/a.ts", "../bus/store/a.ts", "../api/a.ts"],
  "src/worker/a.ts": ["../bus/messages/a.ts", "../bus/a.ts", "../job/a.ts"],
  "src/client/a.ts": ["../bus/messages/a.ts", "../bus/a.ts", "../api/a.ts"],
  "src/http/a.ts": ["../client/a.ts", "../api/a.ts"],
  "src/cli/a.ts": ["../http/a.ts", "../actors/a.ts", "../worker/a.ts", "../bus/server/a.ts"],
};

/** What none of them may import: for each folder what lies above or beside it. */
const FORBIDDEN: [file: string, imported: string][] = [
  ["src/util/a.ts", "../job/a.ts"],
  ["src/job/a.ts", "../api/a.ts"],
  ["src/job/a.ts", "../bus/messages/a.ts"],
  ["src/api/a.ts", "../bus/a.ts"],
  ["src/bus/wire/a.ts", "../a.ts"],
  ["src/bus/wire/a.ts", "../messages/a.ts"],
  ["src/bus/a.ts", "./messages/a.ts"],
  ["src/bus/a.ts", "../actors/a.ts"],
  ["src/bus/messages/a.ts", "../store/a.ts"],
  ["src/bus/store/a.ts", "../tokens/a.ts"],
  ["src/bus/tokens/a.ts", "../../actors/a.ts"],
  ["src/bus/server/a.ts", "../wire/a.ts"],
  ["src/actors/a.ts", "../client/a.ts"],
  ["src/actors/a.ts", "../worker/a.ts"],
  ["src/worker/a.ts", "../actors/a.ts"],
  ["src/worker/a.ts", "../bus/store/a.ts"],
  ["src/client/a.ts", "../actors/a.ts"],
  ["src/client/a.ts", "../bus/tokens/a.ts"],
  ["src/http/a.ts", "../actors/a.ts"],
  ["src/http/a.ts", "../cli/a.ts"],
];

const Imports = suite<{ folder: string }>("imports");

Imports.before(async (context) => {
  context.folder = await mkdtemp(join(tmpdir(), "async-imports-"));
  const config = JSON.parse(await readFile(new URL("../../biome.json", import.meta.url), "utf8"));
  delete config.$schema;
  delete config.vcs;
  await writeFile(join(context.folder, "biome.json"), JSON.stringify(config));
});

Imports.before.each(async ({ folder }) => {
  for (const [file, imports] of Object.entries(TREE)) await write(folder, file, imports);
});

Imports.after(async ({ folder }) => {
  await rm(folder, { recursive: true });
});

async function write(folder: string, file: string, imports: string[]): Promise<void> {
  const names = imports.map((_, index) => `A${index}`);
  const lines = imports.map((path, index) => `import type { A as A${index} } from "${path}";`);
  await mkdir(dirname(join(folder, file)), { recursive: true });
  await writeFile(join(folder, file), `${lines.join("\n")}\nexport type A = [${names}];\n`);
}

/** What the two rules say, by file. */
function lint(folder: string): Promise<string[]> {
  const only = ["--only=suspicious/noImportCycles", "--only=style/noRestrictedImports"];
  return new Promise((resolve, reject) => {
    execFile(
      process.execPath,
      [BIOME, "lint", "--reporter=json", ...only, "."],
      { cwd: folder },
      (_, stdout, stderr) => {
        try {
          const { diagnostics } = JSON.parse(stdout) as {
            diagnostics: { category: string; location: { path: unknown } }[];
          };
          resolve(
            diagnostics.map(({ category, location }) => `${pathOf(location.path)} ${category.split("/").at(-1)}`),
          );
        } catch (cause) {
          reject(new Error(`biome says: ${stdout}${stderr}`, { cause }));
        }
      },
    );
  });
}

function pathOf(path: unknown): string {
  return typeof path === "string" ? path : (path as { file: string }).file;
}

Imports("a tree that is as it should be passes", async ({ folder }) => {
  assert.equal(await lint(folder), []);
});

for (const [file, imported] of FORBIDDEN) {
  Imports(`${file} may not import ${imported}`, async ({ folder }) => {
    await write(folder, file, [...(TREE[file] ?? []), imported]);
    assert.ok((await lint(folder)).includes(`${file} noRestrictedImports`));
  });
}

Imports("a circle of two files in a folder is found, also if it is one of types", async ({ folder }) => {
  await write(folder, "src/job/a.ts", ["./b.ts"]);
  await write(folder, "src/job/b.ts", ["./a.ts"]);
  const found = await lint(folder);
  await rm(join(folder, "src/job/b.ts"));
  assert.equal(found.sort(), ["src/job/a.ts noImportCycles", "src/job/b.ts noImportCycles"]);
});

Imports.run();
