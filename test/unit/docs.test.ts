/** The documents lead where they say. */
import { readdir, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";

const documents = ["README.md", "ARCHITECTURE.md", ...(await readdir("docs")).map((name) => `docs/${name}`)];

/** As the headings of a document are named in links. */
function anchorsOf(text: string): string[] {
  const headings = [...text.matchAll(/^#+ (.*)$/gm)];
  return headings.map(([, heading = ""]) =>
    heading
      .toLowerCase()
      .replace(/[^\w\- ]/g, "")
      .replaceAll(" ", "-"),
  );
}

for (const path of documents) {
  test(`links of ${path}`, async () => {
    const text = await readFile(path, "utf8");
    for (const [, link = ""] of text.matchAll(/\]\((?!https?:)([^)\s]+)\)/g)) {
      const [file = "", anchor] = link.split("#");
      const target = file === "" ? text : await readFile(join(dirname(path), file), "utf8");
      if (anchor !== undefined) assert.ok(anchorsOf(target).includes(anchor), link);
    }
  });
}

test("every document is named in the README", async () => {
  const readme = await readFile("README.md", "utf8");
  for (const path of documents.slice(1)) assert.match(readme, path);
});

test.run();
